WITH `t7` AS (
  SELECT
    `t3`.`event_id`,
    `t3`.`kind`,
    `t3`.`decision_id`,
    `t3`.`creative_id`,
    `t3`.`product_id`,
    `t3`.`position`,
    `t3`.`at`,
    `t3`.`received`,
    `t3`.`user_key`,
    `t3`.`device`
  FROM (
    SELECT
      `t0`.`event_id`,
      `t0`.`kind`,
      `t0`.`decision_id`,
      `t0`.`creative_id`,
      `t0`.`product_id`,
      `t0`.`position`,
      CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64) AS `at`,
      CAST(FLOOR(UNIX_SECONDS(`t0`.`received_at`)) AS INT64) AS `received`,
      `t0`.`user_key`,
      `t0`.`device`
    FROM `events` AS `t0`
    WHERE
      NOT (
        COALESCE(CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64) > 1773187260, FALSE)
      )
      AND NOT (
        COALESCE(
          ieee_divide(
            CAST(FLOOR(UNIX_SECONDS(`t0`.`received_at`)) AS INT64) - CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64),
            3600
          ) > 72.0,
          FALSE
        )
      )
  ) AS `t3`
  WHERE
    NOT EXISTS(
      SELECT
        1
      FROM (
        SELECT DISTINCT
          `t4`.`user_key`
        FROM (
          SELECT
            `t2`.`user_key`,
            `t2`.`minute`,
            COUNT(DISTINCT `t2`.`event_id`) AS `different`
          FROM (
            SELECT
              `t0`.`event_id`,
              `t0`.`kind`,
              `t0`.`decision_id`,
              `t0`.`creative_id`,
              `t0`.`product_id`,
              `t0`.`position`,
              CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64) AS `at`,
              CAST(FLOOR(UNIX_SECONDS(`t0`.`received_at`)) AS INT64) AS `received`,
              `t0`.`user_key`,
              `t0`.`device`,
              CAST(FLOOR(ieee_divide(CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64), 60)) AS INT64) AS `minute`
            FROM `events` AS `t0`
            WHERE
              NOT (
                COALESCE(CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64) > 1773187260, FALSE)
              )
              AND NOT (
                COALESCE(
                  ieee_divide(
                    CAST(FLOOR(UNIX_SECONDS(`t0`.`received_at`)) AS INT64) - CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64),
                    3600
                  ) > 72.0,
                  FALSE
                )
              )
              AND `t0`.`user_key` IS NOT NULL
              AND CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64) IS NOT NULL
          ) AS `t2`
          GROUP BY
            1,
            2
        ) AS `t4`
        WHERE
          `t4`.`different` > 5
      ) AS `t6`
      WHERE
        `t3`.`user_key` = `t6`.`user_key`
    )
), `t14` AS (
  SELECT
    `t3`.`event_id`,
    `t3`.`kind`,
    `t3`.`decision_id`,
    `t3`.`creative_id`,
    `t3`.`product_id`,
    `t3`.`position`,
    `t3`.`at`,
    `t3`.`received`,
    `t3`.`user_key`,
    `t3`.`device`
  FROM (
    SELECT
      `t0`.`event_id`,
      `t0`.`kind`,
      `t0`.`decision_id`,
      `t0`.`creative_id`,
      `t0`.`product_id`,
      `t0`.`position`,
      CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64) AS `at`,
      CAST(FLOOR(UNIX_SECONDS(`t0`.`received_at`)) AS INT64) AS `received`,
      `t0`.`user_key`,
      `t0`.`device`
    FROM `events` AS `t0`
    WHERE
      NOT (
        COALESCE(CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64) > 1773187260, FALSE)
      )
      AND NOT (
        COALESCE(
          ieee_divide(
            CAST(FLOOR(UNIX_SECONDS(`t0`.`received_at`)) AS INT64) - CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64),
            3600
          ) > 72.0,
          FALSE
        )
      )
  ) AS `t3`
  WHERE
    NOT EXISTS(
      SELECT
        1
      FROM (
        SELECT DISTINCT
          `t4`.`user_key`
        FROM (
          SELECT
            `t2`.`user_key`,
            `t2`.`minute`,
            COUNT(DISTINCT `t2`.`event_id`) AS `different`
          FROM (
            SELECT
              `t0`.`event_id`,
              `t0`.`kind`,
              `t0`.`decision_id`,
              `t0`.`creative_id`,
              `t0`.`product_id`,
              `t0`.`position`,
              CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64) AS `at`,
              CAST(FLOOR(UNIX_SECONDS(`t0`.`received_at`)) AS INT64) AS `received`,
              `t0`.`user_key`,
              `t0`.`device`,
              CAST(FLOOR(ieee_divide(CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64), 60)) AS INT64) AS `minute`
            FROM `events` AS `t0`
            WHERE
              NOT (
                COALESCE(CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64) > 1773187260, FALSE)
              )
              AND NOT (
                COALESCE(
                  ieee_divide(
                    CAST(FLOOR(UNIX_SECONDS(`t0`.`received_at`)) AS INT64) - CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64),
                    3600
                  ) > 72.0,
                  FALSE
                )
              )
              AND `t0`.`user_key` IS NOT NULL
              AND CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64) IS NOT NULL
          ) AS `t2`
          GROUP BY
            1,
            2
        ) AS `t4`
        WHERE
          `t4`.`different` > 5
      ) AS `t6`
      WHERE
        `t3`.`user_key` = `t6`.`user_key`
    )
    AND EXISTS(
      SELECT
        1
      FROM (
        SELECT
          *
        FROM (
          SELECT
            `t8`.`event_id`,
            COUNT(*) AS `copies`
          FROM `t7` AS `t8`
          GROUP BY
            1
        ) AS `t9`
        WHERE
          `t9`.`copies` > 1
      ) AS `t13`
      WHERE
        `t3`.`event_id` = `t13`.`event_id`
    )
), `t20` AS (
  SELECT
    *
  FROM (
    SELECT
      `t3`.`event_id`,
      `t3`.`kind`,
      `t3`.`decision_id`,
      `t3`.`creative_id`,
      `t3`.`product_id`,
      `t3`.`position`,
      `t3`.`at`,
      `t3`.`received`,
      `t3`.`user_key`,
      `t3`.`device`
    FROM (
      SELECT
        `t0`.`event_id`,
        `t0`.`kind`,
        `t0`.`decision_id`,
        `t0`.`creative_id`,
        `t0`.`product_id`,
        `t0`.`position`,
        CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64) AS `at`,
        CAST(FLOOR(UNIX_SECONDS(`t0`.`received_at`)) AS INT64) AS `received`,
        `t0`.`user_key`,
        `t0`.`device`
      FROM `events` AS `t0`
      WHERE
        NOT (
          COALESCE(CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64) > 1773187260, FALSE)
        )
        AND NOT (
          COALESCE(
            ieee_divide(
              CAST(FLOOR(UNIX_SECONDS(`t0`.`received_at`)) AS INT64) - CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64),
              3600
            ) > 72.0,
            FALSE
          )
        )
    ) AS `t3`
    WHERE
      NOT EXISTS(
        SELECT
          1
        FROM (
          SELECT DISTINCT
            `t4`.`user_key`
          FROM (
            SELECT
              `t2`.`user_key`,
              `t2`.`minute`,
              COUNT(DISTINCT `t2`.`event_id`) AS `different`
            FROM (
              SELECT
                `t0`.`event_id`,
                `t0`.`kind`,
                `t0`.`decision_id`,
                `t0`.`creative_id`,
                `t0`.`product_id`,
                `t0`.`position`,
                CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64) AS `at`,
                CAST(FLOOR(UNIX_SECONDS(`t0`.`received_at`)) AS INT64) AS `received`,
                `t0`.`user_key`,
                `t0`.`device`,
                CAST(FLOOR(ieee_divide(CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64), 60)) AS INT64) AS `minute`
              FROM `events` AS `t0`
              WHERE
                NOT (
                  COALESCE(CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64) > 1773187260, FALSE)
                )
                AND NOT (
                  COALESCE(
                    ieee_divide(
                      CAST(FLOOR(UNIX_SECONDS(`t0`.`received_at`)) AS INT64) - CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64),
                      3600
                    ) > 72.0,
                    FALSE
                  )
                )
                AND `t0`.`user_key` IS NOT NULL
                AND CAST(FLOOR(UNIX_SECONDS(`t0`.`ts`)) AS INT64) IS NOT NULL
            ) AS `t2`
            GROUP BY
              1,
              2
          ) AS `t4`
          WHERE
            `t4`.`different` > 5
        ) AS `t6`
        WHERE
          `t3`.`user_key` = `t6`.`user_key`
      )
      AND NOT EXISTS(
        SELECT
          1
        FROM `t14` AS `t16`
        WHERE
          `t3`.`event_id` = `t16`.`event_id`
      )
  ) AS `t17`
  UNION ALL
  SELECT
    *
  FROM (
    SELECT
      `t18`.`event_id`,
      `t18`.`kind`,
      `t18`.`decision_id`,
      `t18`.`creative_id`,
      `t18`.`product_id`,
      `t18`.`position`,
      `t18`.`at`,
      `t18`.`received`,
      `t18`.`user_key`,
      `t18`.`device`
    FROM (
      SELECT
        `t15`.`event_id`,
        `t15`.`kind`,
        `t15`.`decision_id`,
        `t15`.`creative_id`,
        `t15`.`product_id`,
        `t15`.`position`,
        `t15`.`at`,
        `t15`.`received`,
        `t15`.`user_key`,
        `t15`.`device`,
        ROW_NUMBER() OVER (
          PARTITION BY `t15`.`event_id`
          ORDER BY CAST(`t15`.`at` IS NULL AS INT64) ASC, `t15`.`at` ASC, CAST(`t15`.`received` IS NULL AS INT64) ASC, `t15`.`received` ASC, CAST(`t15`.`user_key` IS NULL AS INT64) ASC, `t15`.`user_key` ASC, CAST(`t15`.`device` IS NULL AS INT64) ASC, `t15`.`device` ASC, CAST(`t15`.`decision_id` IS NULL AS INT64) ASC, `t15`.`decision_id` ASC, CAST(`t15`.`creative_id` IS NULL AS INT64) ASC, `t15`.`creative_id` ASC, CAST(`t15`.`position` IS NULL AS INT64) ASC, `t15`.`position` ASC
        ) - 1 AS `copy`
      FROM `t14` AS `t15`
    ) AS `t18`
    WHERE
      `t18`.`copy` = 0
  ) AS `t19`
), `t22` AS (
  SELECT
    *
  FROM `t20` AS `t21`
  WHERE
    `t21`.`kind` = 'click'
)
SELECT
  `t35`.`creative_id`,
  `t35`.`product_id`,
  `t35`.`position`,
  DATE_ADD(DATE(1970, 1, 1), INTERVAL `t35`.`day` DAY) AS `day`,
  `t35`.`device`,
  `t35`.`impressions`,
  `t35`.`clicks`
FROM (
  SELECT
    `t34`.`creative_id`,
    `t34`.`product_id`,
    `t34`.`position`,
    `t34`.`day`,
    `t34`.`device`,
    COUNTIF(`t34`.`kind` = 'impression') AS `impressions`,
    COUNTIF(`t34`.`kind` = 'click') AS `clicks`
  FROM (
    SELECT
      *
    FROM (
      SELECT
        `t21`.`kind`,
        `t21`.`creative_id`,
        `t21`.`product_id`,
        `t21`.`position`,
        CAST(FLOOR(ieee_divide(`t21`.`at`, 86400)) AS INT64) AS `day`,
        `t21`.`device`
      FROM `t20` AS `t21`
      WHERE
        `t21`.`kind` = 'impression'
    ) AS `t23`
    UNION ALL
    SELECT
      *
    FROM (
      SELECT
        `t32`.`kind`,
        `t32`.`creative_id`,
        `t32`.`product_id`,
        `t32`.`position`,
        CAST(FLOOR(ieee_divide(COALESCE(`t32`.`shown_at`, `t32`.`at`), 86400)) AS INT64) AS `day`,
        COALESCE(`t32`.`shown_device`, `t32`.`device`) AS `device`
      FROM (
        SELECT
          `t31`.`event_id`,
          `t31`.`kind`,
          `t31`.`decision_id`,
          `t31`.`creative_id`,
          `t31`.`product_id`,
          `t31`.`position`,
          `t31`.`at`,
          `t31`.`received`,
          `t31`.`user_key`,
          `t31`.`device`,
          `t31`.`decision_id_shown`,
          `t31`.`creative_id_shown`,
          `t31`.`found`,
          `t31`.`shown_at`,
          `t31`.`shown_device`,
          `t31`.`fault`,
          `t31`.`skewed`,
          ROW_NUMBER() OVER (
            PARTITION BY `t31`.`decision_id`, `t31`.`creative_id`, `t31`.`position`, `t31`.`fault`
            ORDER BY CAST(`t31`.`at` IS NULL AS INT64) ASC, `t31`.`at` ASC, `t31`.`event_id` ASC
          ) - 1 AS `earlier`
        FROM (
          SELECT
            `t30`.`event_id`,
            `t30`.`kind`,
            `t30`.`decision_id`,
            `t30`.`creative_id`,
            `t30`.`product_id`,
            `t30`.`position`,
            `t30`.`at`,
            `t30`.`received`,
            `t30`.`user_key`,
            `t30`.`device`,
            `t30`.`decision_id_shown`,
            `t30`.`creative_id_shown`,
            `t30`.`found`,
            `t30`.`shown_at`,
            `t30`.`shown_device`,
            CASE
              WHEN COALESCE(`t30`.`found`, 0) = 0
              THEN 'unmatched'
              WHEN COALESCE((
                `t30`.`at` - `t30`.`shown_at`
              ) < -60.0, FALSE)
              THEN 'early'
              WHEN COALESCE(ieee_divide(`t30`.`at` - `t30`.`shown_at`, 3600) > 24.0, FALSE)
              THEN 'expired'
              ELSE ''
            END AS `fault`,
            CAST(COALESCE(`t30`.`at` < `t30`.`shown_at`, FALSE) AS INT64) AS `skewed`
          FROM (
            SELECT
              `t25`.`event_id`,
              `t25`.`kind`,
              `t25`.`decision_id`,
              `t25`.`creative_id`,
              `t25`.`product_id`,
              `t25`.`position`,
              `t25`.`at`,
              `t25`.`received`,
              `t25`.`user_key`,
              `t25`.`device`,
              `t29`.`decision_id` AS `decision_id_shown`,
              `t29`.`creative_id` AS `creative_id_shown`,
              `t29`.`found`,
              `t29`.`shown_at`,
              `t29`.`shown_device`
            FROM `t22` AS `t25`
            LEFT OUTER JOIN (
              SELECT
                `t27`.`decision_id`,
                `t27`.`creative_id`,
                COUNT(*) AS `found`,
                MIN(`t27`.`at`) AS `shown_at`,
                MIN(`t27`.`device`) AS `shown_device`
              FROM (
                SELECT
                  `t11`.`event_id`,
                  `t11`.`kind`,
                  `t11`.`decision_id`,
                  `t11`.`creative_id`,
                  `t11`.`product_id`,
                  `t11`.`position`,
                  `t11`.`at`,
                  `t11`.`received`,
                  `t11`.`user_key`,
                  `t11`.`device`
                FROM (
                  SELECT
                    *
                  FROM `t7` AS `t8`
                  WHERE
                    `t8`.`kind` = 'impression'
                ) AS `t11`
                WHERE
                  EXISTS(
                    SELECT
                      1
                    FROM `t22` AS `t26`
                    WHERE
                      `t11`.`decision_id` = `t26`.`decision_id`
                      AND `t11`.`creative_id` = `t26`.`creative_id`
                  )
              ) AS `t27`
              GROUP BY
                1,
                2
            ) AS `t29`
              ON `t25`.`decision_id` = `t29`.`decision_id`
              AND `t25`.`creative_id` = `t29`.`creative_id`
          ) AS `t30`
        ) AS `t31`
      ) AS `t32`
      WHERE
        IF((
          `t32`.`fault` = ''
        ) AND (
          `t32`.`earlier` > 0
        ), 'repeated', `t32`.`fault`) = ''
    ) AS `t33`
  ) AS `t34`
  GROUP BY
    1,
    2,
    3,
    4,
    5
) AS `t35`
