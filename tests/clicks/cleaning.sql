-- users too busy to be people
SELECT DISTINCT
  "t2"."user_key"
FROM (
  SELECT
    "t1"."user_key",
    "t1"."span",
    COUNT(DISTINCT "t1"."event_id") AS "different"
  FROM (
    SELECT
      "t0"."event_id",
      "t0"."user_key",
      "t0"."at",
      CAST(FLOOR((
        "t0"."at"
      ) / (
        60
      )) AS BIGINT) AS "span"
    FROM "timely" AS "t0"
  ) AS "t1"
  GROUP BY
    1,
    2
) AS "t2"
WHERE
  "t2"."different" > 5;

-- impressions that a click names
SELECT
  "t5"."decision_id",
  "t5"."creative_id",
  "t5"."user_key"
FROM (
  SELECT
    "t3"."kind",
    "t3"."decision_id",
    "t3"."creative_id",
    "t3"."user_key"
  FROM (
    SELECT
      *
    FROM "without_busy" AS "t0"
    WHERE
      "t0"."kind" = 'impression'
  ) AS "t3"
  SEMI JOIN (
    SELECT
      "t0"."decision_id",
      "t0"."creative_id"
    FROM "without_busy" AS "t0"
    WHERE
      "t0"."kind" = 'click'
  ) AS "t4"
    ON "t3"."decision_id" = "t4"."decision_id"
    AND "t3"."creative_id" = "t4"."creative_id"
) AS "t5";

-- impressions and clicks of every user
SELECT
  "t7"."user_key",
  "t7"."shown",
  COALESCE("t10"."clicked", 0) AS "clicked"
FROM (
  SELECT
    "t3"."user_key",
    COUNT(*) AS "shown"
  FROM (
    SELECT
      *
    FROM "without_busy" AS "t0"
    WHERE
      "t0"."user_key" IS NOT NULL AND "t0"."kind" = 'impression'
  ) AS "t3"
  GROUP BY
    1
) AS "t7"
LEFT OUTER JOIN (
  SELECT
    "t8"."user_key",
    COUNT(DISTINCT "t8"."decision_id") AS "clicked"
  FROM (
    SELECT
      "t2"."kind",
      "t2"."decision_id",
      "t2"."creative_id",
      "t2"."user_key"
    FROM "clicked" AS "t2"
    SEMI JOIN (
      SELECT
        "t0"."decision_id",
        "t0"."creative_id",
        "t0"."user_key"
      FROM "without_busy" AS "t0"
      WHERE
        "t0"."user_key" IS NOT NULL AND "t0"."kind" = 'click'
    ) AS "t5"
      ON "t2"."decision_id" = "t5"."decision_id"
      AND "t2"."creative_id" = "t5"."creative_id"
      AND "t2"."user_key" = "t5"."user_key"
  ) AS "t8"
  GROUP BY
    1
) AS "t10"
  ON "t7"."user_key" = "t10"."user_key";

-- how people click
SELECT
  (
    "t3"."clicked" + (
      SQRT("t3"."clicked" + 1) * 2.0
    ) + 1
  ) / "t3"."shown" AS "ctr",
  GREATEST(
    0.25,
    (
      (
        "t3"."couples" / "t3"."expected"
      ) - 1
    ) + (
      SQRT(2 / "t3"."expected") * 2.0
    )
  ) AS "variance"
FROM (
  SELECT
    "t2"."shown",
    "t2"."squares",
    "t2"."clicked",
    "t2"."couples",
    (
      (
        "t2"."clicked" + 0.5
      ) * (
        "t2"."clicked" + 0.5
      ) * "t2"."squares"
    ) / (
      "t2"."shown" * "t2"."shown"
    ) AS "expected"
  FROM (
    SELECT
      SUM("t0"."weight" * "t0"."shown") AS "shown",
      SUM("t0"."weight" * "t0"."shown" * (
        "t0"."weight" * "t0"."shown"
      )) AS "squares",
      SUM("t0"."weight" * "t0"."clicked") AS "clicked",
      SUM("t0"."weight" * "t0"."weight" * "t0"."clicked" * (
        "t0"."clicked" - 1
      )) AS "couples"
    FROM "users" AS "t0"
  ) AS "t2"
  WHERE
    (
      SELECT
        SUM("t0"."weight" * "t0"."shown") AS "Sum(Multiply(weight, shown))"
      FROM "users" AS "t0"
    ) > 0
) AS "t3";

-- users who click too often to be people
SELECT
  "t6"."user_key"
FROM (
  SELECT
    "t5"."user_key",
    "t5"."shown",
    "t5"."clicked",
    "t5"."users",
    "t5"."ctr",
    "t5"."variance",
    "t5"."ctr" * "t5"."shown" AS "mean",
    1 / "t5"."variance" AS "shape"
  FROM (
    SELECT
      "t4"."user_key",
      "t4"."shown",
      "t4"."clicked",
      "t4"."users",
      "t2"."ctr",
      "t2"."variance"
    FROM (
      SELECT
        *
      FROM "users" AS "t0"
      WHERE
        "t0"."clicked" > 1
    ) AS "t4"
    CROSS JOIN "people" AS "t2"
  ) AS "t5"
) AS "t6"
WHERE
  (
    (
      "t6"."clicked" * LN("t6"."clicked" / "t6"."mean")
    ) - (
      (
        "t6"."clicked" + "t6"."shape"
      ) * LN((
        "t6"."clicked" + "t6"."shape"
      ) / (
        "t6"."mean" + "t6"."shape"
      ))
    )
  ) > LN("t6"."users" / 0.01)
  AND "t6"."clicked" > "t6"."mean";

-- every event once
SELECT
  *
FROM (
  SELECT
    "t2"."event_id",
    "t2"."decision_id",
    "t2"."creative_id",
    "t2"."at",
    "t2"."position"
  FROM "without_bots" AS "t2"
  ANTI JOIN "repeated" AS "t3"
    ON "t2"."event_id" = "t3"."event_id"
) AS "t4"
UNION ALL
SELECT
  *
FROM (
  SELECT
    "t5"."event_id",
    "t5"."decision_id",
    "t5"."creative_id",
    "t5"."at",
    "t5"."position"
  FROM (
    SELECT
      "t1"."event_id",
      "t1"."decision_id",
      "t1"."creative_id",
      "t1"."at",
      "t1"."position",
      ROW_NUMBER() OVER (
        PARTITION BY "t1"."event_id"
        ORDER BY CAST("t1"."at" IS NULL AS TINYINT) ASC, "t1"."at" ASC, CAST("t1"."decision_id" IS NULL AS TINYINT) ASC, "t1"."decision_id" ASC, CAST("t1"."creative_id" IS NULL AS TINYINT) ASC, "t1"."creative_id" ASC, CAST("t1"."position" IS NULL AS TINYINT) ASC, "t1"."position" ASC
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
      ) - 1 AS "copy"
    FROM "repeated" AS "t1"
  ) AS "t5"
  WHERE
    "t5"."copy" = 0
) AS "t6";

-- impressions logged again
SELECT
  "t13"."event_id"
FROM (
  SELECT
    "t12"."event_id",
    "t12"."decision_id",
    "t12"."creative_id",
    "t12"."at",
    "t12"."position",
    "t12"."kind",
    "t12"."user_key",
    ROW_NUMBER() OVER (
      PARTITION BY "t12"."decision_id", "t12"."creative_id", "t12"."position", "t12"."user_key"
      ORDER BY CAST("t12"."at" IS NULL AS TINYINT) ASC, "t12"."at" ASC, "t12"."event_id" ASC
      ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    ) - 1 AS "copy"
  FROM (
    SELECT
      *
    FROM (
      SELECT
        *
      FROM (
        SELECT
          "t9"."event_id",
          "t9"."decision_id",
          "t9"."creative_id",
          "t9"."at",
          "t9"."position",
          "t9"."kind",
          "t9"."user_key"
        FROM (
          SELECT
            "t6".*
            EXCLUDE ("copies")
          FROM (
            SELECT
              *
            FROM (
              SELECT
                "t3"."event_id",
                "t3"."decision_id",
                "t3"."creative_id",
                "t3"."at",
                "t3"."position",
                "t3"."kind",
                "t3"."user_key",
                COUNT(*) OVER (
                  PARTITION BY "t3"."decision_id", "t3"."creative_id", "t3"."position", "t3"."user_key"
                  ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
                ) AS "copies"
              FROM (
                SELECT
                  *
                FROM "without_bots" AS "t1"
                WHERE
                  "t1"."kind" = 'impression'
              ) AS "t3"
            ) AS "t4"
            WHERE
              "t4"."copies" > 1
          ) AS "t6"
        ) AS "t9"
        ANTI JOIN "repeated" AS "t2"
          ON "t9"."event_id" = "t2"."event_id"
      ) AS "t10"
      UNION ALL
      SELECT
        *
      FROM (
        SELECT
          "t5"."event_id",
          "t5"."decision_id",
          "t5"."creative_id",
          "t5"."at",
          "t5"."position",
          "t5"."kind",
          "t5"."user_key"
        FROM (
          SELECT
            "t0"."event_id",
            "t0"."decision_id",
            "t0"."creative_id",
            "t0"."at",
            "t0"."position",
            "t0"."kind",
            "t0"."user_key",
            ROW_NUMBER() OVER (
              PARTITION BY "t0"."event_id"
              ORDER BY CAST("t0"."at" IS NULL AS TINYINT) ASC, "t0"."at" ASC, CAST("t0"."user_key" IS NULL AS TINYINT) ASC, "t0"."user_key" ASC, CAST("t0"."decision_id" IS NULL AS TINYINT) ASC, "t0"."decision_id" ASC, CAST("t0"."creative_id" IS NULL AS TINYINT) ASC, "t0"."creative_id" ASC, CAST("t0"."position" IS NULL AS TINYINT) ASC, "t0"."position" ASC
              ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
            ) - 1 AS "copy"
          FROM "repeated" AS "t0"
        ) AS "t5"
        WHERE
          "t5"."copy" = 0
      ) AS "t7"
    ) AS "t11"
    WHERE
      "t11"."kind" = 'impression'
  ) AS "t12"
) AS "t13"
WHERE
  "t13"."copy" > 0;

-- clicks with their fault
SELECT
  "t11"."event_id",
  "t11"."kind",
  "t11"."creative_id",
  "t11"."product_id",
  "t11"."position",
  CASE
    WHEN (
      "t11"."fault" = ''
    )
    AND (
      "t11"."again" OR (
        "t11"."viewers" <= "t11"."earlier"
      )
    )
    THEN 'repeated'
    ELSE "t11"."fault"
  END AS "fault",
  "t11"."skewed",
  "t11"."user_key",
  COALESCE("t11"."shown_at", "t11"."at") AS "at"
FROM (
  SELECT
    "t10"."event_id",
    "t10"."decision_id",
    "t10"."creative_id",
    "t10"."at",
    "t10"."kind",
    "t10"."user_key",
    "t10"."product_id",
    "t10"."position",
    "t10"."decision_id_shown",
    "t10"."creative_id_shown",
    "t10"."found",
    "t10"."viewers",
    "t10"."shown_position",
    "t10"."shown_at",
    "t10"."decision_id_own",
    "t10"."creative_id_own",
    "t10"."user_key_own",
    "t10"."own_found",
    "t10"."own_viewers",
    "t10"."own_shown_position",
    "t10"."own_shown_at",
    "t10"."user",
    "t10"."fault",
    "t10"."skewed",
    "t10"."untimed",
    "t10"."again",
    ROW_NUMBER() OVER (
      PARTITION BY "t10"."decision_id", "t10"."creative_id", "t10"."position", "t10"."fault", "t10"."again"
      ORDER BY "t10"."untimed" ASC, "t10"."at" ASC, "t10"."event_id" ASC
      ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    ) - 1 AS "earlier"
  FROM (
    SELECT
      "t9"."event_id",
      "t9"."decision_id",
      "t9"."creative_id",
      "t9"."at",
      "t9"."kind",
      "t9"."user_key",
      "t9"."product_id",
      "t9"."position",
      "t9"."decision_id_shown",
      "t9"."creative_id_shown",
      "t9"."found",
      "t9"."viewers",
      "t9"."shown_position",
      "t9"."shown_at",
      "t9"."decision_id_own",
      "t9"."creative_id_own",
      "t9"."user_key_own",
      "t9"."own_found",
      "t9"."own_viewers",
      "t9"."own_shown_position",
      "t9"."own_shown_at",
      "t9"."user",
      "t9"."fault",
      "t9"."skewed",
      "t9"."untimed",
      (
        ROW_NUMBER() OVER (
          PARTITION BY "t9"."decision_id", "t9"."creative_id", "t9"."position", "t9"."fault", "t9"."user"
          ORDER BY "t9"."untimed" ASC, "t9"."at" ASC, "t9"."event_id" ASC
          ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) - 1
      ) > 0 AS "again"
    FROM (
      SELECT
        "t8"."event_id",
        "t8"."decision_id",
        "t8"."creative_id",
        "t8"."at",
        "t8"."kind",
        "t8"."user_key",
        "t8"."product_id",
        CASE
          WHEN CASE
            WHEN COALESCE("t8"."own_found", 0) > 0
            THEN "t8"."own_shown_position"
            ELSE "t8"."shown_position"
          END IS NULL
          THEN CAST(NULL AS INT)
          ELSE COALESCE(
            "t8"."position",
            CASE
              WHEN COALESCE("t8"."own_found", 0) > 0
              THEN "t8"."own_shown_position"
              ELSE "t8"."shown_position"
            END
          )
        END AS "position",
        "t8"."decision_id_shown",
        "t8"."creative_id_shown",
        "t8"."found",
        "t8"."viewers",
        CASE
          WHEN COALESCE("t8"."own_found", 0) > 0
          THEN "t8"."own_shown_position"
          ELSE "t8"."shown_position"
        END AS "shown_position",
        CASE
          WHEN COALESCE("t8"."own_found", 0) > 0
          THEN "t8"."own_shown_at"
          ELSE "t8"."shown_at"
        END AS "shown_at",
        "t8"."decision_id_own",
        "t8"."creative_id_own",
        "t8"."user_key_own",
        "t8"."own_found",
        "t8"."own_viewers",
        "t8"."own_shown_position",
        "t8"."own_shown_at",
        COALESCE("t8"."user_key", '') AS "user",
        CASE
          WHEN COALESCE("t8"."found", 0) = 0
          THEN 'unmatched'
          WHEN COALESCE(
            (
              "t8"."at" - CASE
                WHEN COALESCE("t8"."own_found", 0) > 0
                THEN "t8"."own_shown_at"
                ELSE "t8"."shown_at"
              END
            ) < -60.0,
            FALSE
          )
          THEN 'early'
          WHEN COALESCE(
            (
              (
                "t8"."at" - CASE
                  WHEN COALESCE("t8"."own_found", 0) > 0
                  THEN "t8"."own_shown_at"
                  ELSE "t8"."shown_at"
                END
              ) / 3600
            ) > 24.0,
            FALSE
          )
          THEN 'expired'
          ELSE ''
        END AS "fault",
        CAST(COALESCE(
          "t8"."at" < CASE
            WHEN COALESCE("t8"."own_found", 0) > 0
            THEN "t8"."own_shown_at"
            ELSE "t8"."shown_at"
          END,
          FALSE
        ) AS TINYINT) AS "skewed",
        CAST("t8"."at" IS NULL AS TINYINT) AS "untimed"
      FROM (
        SELECT
          "t2"."event_id",
          "t2"."decision_id",
          "t2"."creative_id",
          "t2"."at",
          "t2"."kind",
          "t2"."user_key",
          "t2"."product_id",
          "t2"."position",
          "t5"."decision_id" AS "decision_id_shown",
          "t5"."creative_id" AS "creative_id_shown",
          "t5"."found",
          "t5"."viewers",
          "t5"."shown_position",
          "t5"."shown_at",
          "t7"."decision_id" AS "decision_id_own",
          "t7"."creative_id" AS "creative_id_own",
          "t7"."user_key" AS "user_key_own",
          "t7"."own_found",
          "t7"."own_viewers",
          "t7"."own_shown_position",
          "t7"."own_shown_at"
        FROM "clicks" AS "t2"
        LEFT OUTER JOIN (
          SELECT
            "t1"."decision_id",
            "t1"."creative_id",
            COUNT(*) AS "found",
            COUNT(DISTINCT COALESCE("t1"."user_key", '')) AS "viewers",
            MIN("t1"."position") AS "shown_position",
            MIN("t1"."at") AS "shown_at"
          FROM "clicked" AS "t1"
          GROUP BY
            1,
            2
        ) AS "t5"
          ON "t2"."decision_id" = "t5"."decision_id"
          AND "t2"."creative_id" = "t5"."creative_id"
        LEFT OUTER JOIN (
          SELECT
            "t4"."decision_id",
            "t4"."creative_id",
            "t4"."user_key",
            "t4"."found" AS "own_found",
            "t4"."viewers" AS "own_viewers",
            "t4"."shown_position" AS "own_shown_position",
            "t4"."shown_at" AS "own_shown_at"
          FROM (
            SELECT
              "t1"."decision_id",
              "t1"."creative_id",
              "t1"."user_key",
              COUNT(*) AS "found",
              COUNT(DISTINCT COALESCE("t1"."user_key", '')) AS "viewers",
              MIN("t1"."position") AS "shown_position",
              MIN("t1"."at") AS "shown_at"
            FROM "clicked" AS "t1"
            GROUP BY
              1,
              2,
              3
          ) AS "t4"
        ) AS "t7"
          ON "t2"."decision_id" = "t7"."decision_id"
          AND "t2"."creative_id" = "t7"."creative_id"
          AND "t2"."user_key" = "t7"."user_key"
      ) AS "t8"
    ) AS "t9"
  ) AS "t10"
) AS "t11";

-- counts
SELECT
  "t1"."creative_id",
  "t1"."product_id",
  "t1"."position",
  MAKE_DATE(1970, 1, 1) + TO_DAYS("t1"."day") AS "day",
  "t1"."impressions",
  "t1"."clicks"
FROM (
  SELECT
    "t0"."creative_id",
    "t0"."product_id",
    "t0"."position",
    "t0"."day",
    COUNT(*) FILTER(WHERE
      "t0"."kind" = 'impression') AS "impressions",
    COUNT(*) FILTER(WHERE
      "t0"."kind" = 'click') AS "clicks"
  FROM "events" AS "t0"
  GROUP BY
    1,
    2,
    3,
    4
) AS "t1";
