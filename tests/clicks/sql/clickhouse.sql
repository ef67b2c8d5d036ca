WITH "t7" AS (
  SELECT
    "t3"."event_id" AS "event_id",
    "t3"."kind" AS "kind",
    "t3"."decision_id" AS "decision_id",
    "t3"."creative_id" AS "creative_id",
    "t3"."product_id" AS "product_id",
    "t3"."position" AS "position",
    "t3"."at" AS "at",
    "t3"."received" AS "received",
    "t3"."user_key" AS "user_key",
    "t3"."device" AS "device"
  FROM (
    SELECT
      "t0"."event_id" AS "event_id",
      "t0"."kind" AS "kind",
      "t0"."decision_id" AS "decision_id",
      "t0"."creative_id" AS "creative_id",
      "t0"."product_id" AS "product_id",
      "t0"."position" AS "position",
      CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64)) AS "at",
      CAST(FLOOR(toRelativeSecondNum("t0"."received_at")) AS Nullable(Int64)) AS "received",
      "t0"."user_key" AS "user_key",
      "t0"."device" AS "device"
    FROM "events" AS "t0"
    WHERE
      NOT (
        COALESCE(CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64)) > 1773187260, FALSE)
      )
      AND NOT (
        COALESCE(
          (
            (
              CAST(FLOOR(toRelativeSecondNum("t0"."received_at")) AS Nullable(Int64)) - CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64))
            ) / 3600
          ) > 72.0,
          FALSE
        )
      )
  ) AS "t3"
  LEFT ANTI JOIN (
    SELECT DISTINCT
      "t4"."user_key" AS "user_key"
    FROM (
      SELECT
        "t2"."user_key" AS "user_key",
        "t2"."minute" AS "minute",
        uniq("t2"."event_id") AS "different"
      FROM (
        SELECT
          "t0"."event_id" AS "event_id",
          "t0"."kind" AS "kind",
          "t0"."decision_id" AS "decision_id",
          "t0"."creative_id" AS "creative_id",
          "t0"."product_id" AS "product_id",
          "t0"."position" AS "position",
          CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64)) AS "at",
          CAST(FLOOR(toRelativeSecondNum("t0"."received_at")) AS Nullable(Int64)) AS "received",
          "t0"."user_key" AS "user_key",
          "t0"."device" AS "device",
          CAST(FLOOR((
            CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64))
          ) / (
            60
          )) AS Nullable(Int64)) AS "minute"
        FROM "events" AS "t0"
        WHERE
          NOT (
            COALESCE(CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64)) > 1773187260, FALSE)
          )
          AND NOT (
            COALESCE(
              (
                (
                  CAST(FLOOR(toRelativeSecondNum("t0"."received_at")) AS Nullable(Int64)) - CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64))
                ) / 3600
              ) > 72.0,
              FALSE
            )
          )
          AND isNotNull("t0"."user_key")
          AND isNotNull(CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64)))
      ) AS "t2"
      GROUP BY
        "t2"."user_key",
        "t2"."minute"
    ) AS "t4"
    WHERE
      "t4"."different" > 5
  ) AS "t6"
    ON "t3"."user_key" = "t6"."user_key"
), "t14" AS (
  SELECT
    "t3"."event_id" AS "event_id",
    "t3"."kind" AS "kind",
    "t3"."decision_id" AS "decision_id",
    "t3"."creative_id" AS "creative_id",
    "t3"."product_id" AS "product_id",
    "t3"."position" AS "position",
    "t3"."at" AS "at",
    "t3"."received" AS "received",
    "t3"."user_key" AS "user_key",
    "t3"."device" AS "device"
  FROM (
    SELECT
      "t0"."event_id" AS "event_id",
      "t0"."kind" AS "kind",
      "t0"."decision_id" AS "decision_id",
      "t0"."creative_id" AS "creative_id",
      "t0"."product_id" AS "product_id",
      "t0"."position" AS "position",
      CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64)) AS "at",
      CAST(FLOOR(toRelativeSecondNum("t0"."received_at")) AS Nullable(Int64)) AS "received",
      "t0"."user_key" AS "user_key",
      "t0"."device" AS "device"
    FROM "events" AS "t0"
    WHERE
      NOT (
        COALESCE(CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64)) > 1773187260, FALSE)
      )
      AND NOT (
        COALESCE(
          (
            (
              CAST(FLOOR(toRelativeSecondNum("t0"."received_at")) AS Nullable(Int64)) - CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64))
            ) / 3600
          ) > 72.0,
          FALSE
        )
      )
  ) AS "t3"
  LEFT ANTI JOIN (
    SELECT DISTINCT
      "t4"."user_key" AS "user_key"
    FROM (
      SELECT
        "t2"."user_key" AS "user_key",
        "t2"."minute" AS "minute",
        uniq("t2"."event_id") AS "different"
      FROM (
        SELECT
          "t0"."event_id" AS "event_id",
          "t0"."kind" AS "kind",
          "t0"."decision_id" AS "decision_id",
          "t0"."creative_id" AS "creative_id",
          "t0"."product_id" AS "product_id",
          "t0"."position" AS "position",
          CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64)) AS "at",
          CAST(FLOOR(toRelativeSecondNum("t0"."received_at")) AS Nullable(Int64)) AS "received",
          "t0"."user_key" AS "user_key",
          "t0"."device" AS "device",
          CAST(FLOOR((
            CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64))
          ) / (
            60
          )) AS Nullable(Int64)) AS "minute"
        FROM "events" AS "t0"
        WHERE
          NOT (
            COALESCE(CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64)) > 1773187260, FALSE)
          )
          AND NOT (
            COALESCE(
              (
                (
                  CAST(FLOOR(toRelativeSecondNum("t0"."received_at")) AS Nullable(Int64)) - CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64))
                ) / 3600
              ) > 72.0,
              FALSE
            )
          )
          AND isNotNull("t0"."user_key")
          AND isNotNull(CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64)))
      ) AS "t2"
      GROUP BY
        "t2"."user_key",
        "t2"."minute"
    ) AS "t4"
    WHERE
      "t4"."different" > 5
  ) AS "t6"
    ON "t3"."user_key" = "t6"."user_key"
  LEFT SEMI JOIN (
    SELECT
      *
    FROM (
      SELECT
        "t8"."event_id" AS "event_id",
        COUNT(*) AS "copies"
      FROM "t7" AS "t8"
      GROUP BY
        "t8"."event_id"
    ) AS "t9"
    WHERE
      "t9"."copies" > 1
  ) AS "t13"
    ON "t3"."event_id" = "t13"."event_id"
), "t20" AS (
  SELECT
    *
  FROM (
    SELECT
      "t3"."event_id" AS "event_id",
      "t3"."kind" AS "kind",
      "t3"."decision_id" AS "decision_id",
      "t3"."creative_id" AS "creative_id",
      "t3"."product_id" AS "product_id",
      "t3"."position" AS "position",
      "t3"."at" AS "at",
      "t3"."received" AS "received",
      "t3"."user_key" AS "user_key",
      "t3"."device" AS "device"
    FROM (
      SELECT
        "t0"."event_id" AS "event_id",
        "t0"."kind" AS "kind",
        "t0"."decision_id" AS "decision_id",
        "t0"."creative_id" AS "creative_id",
        "t0"."product_id" AS "product_id",
        "t0"."position" AS "position",
        CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64)) AS "at",
        CAST(FLOOR(toRelativeSecondNum("t0"."received_at")) AS Nullable(Int64)) AS "received",
        "t0"."user_key" AS "user_key",
        "t0"."device" AS "device"
      FROM "events" AS "t0"
      WHERE
        NOT (
          COALESCE(CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64)) > 1773187260, FALSE)
        )
        AND NOT (
          COALESCE(
            (
              (
                CAST(FLOOR(toRelativeSecondNum("t0"."received_at")) AS Nullable(Int64)) - CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64))
              ) / 3600
            ) > 72.0,
            FALSE
          )
        )
    ) AS "t3"
    LEFT ANTI JOIN (
      SELECT DISTINCT
        "t4"."user_key" AS "user_key"
      FROM (
        SELECT
          "t2"."user_key" AS "user_key",
          "t2"."minute" AS "minute",
          uniq("t2"."event_id") AS "different"
        FROM (
          SELECT
            "t0"."event_id" AS "event_id",
            "t0"."kind" AS "kind",
            "t0"."decision_id" AS "decision_id",
            "t0"."creative_id" AS "creative_id",
            "t0"."product_id" AS "product_id",
            "t0"."position" AS "position",
            CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64)) AS "at",
            CAST(FLOOR(toRelativeSecondNum("t0"."received_at")) AS Nullable(Int64)) AS "received",
            "t0"."user_key" AS "user_key",
            "t0"."device" AS "device",
            CAST(FLOOR((
              CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64))
            ) / (
              60
            )) AS Nullable(Int64)) AS "minute"
          FROM "events" AS "t0"
          WHERE
            NOT (
              COALESCE(CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64)) > 1773187260, FALSE)
            )
            AND NOT (
              COALESCE(
                (
                  (
                    CAST(FLOOR(toRelativeSecondNum("t0"."received_at")) AS Nullable(Int64)) - CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64))
                  ) / 3600
                ) > 72.0,
                FALSE
              )
            )
            AND isNotNull("t0"."user_key")
            AND isNotNull(CAST(FLOOR(toRelativeSecondNum("t0"."ts")) AS Nullable(Int64)))
        ) AS "t2"
        GROUP BY
          "t2"."user_key",
          "t2"."minute"
      ) AS "t4"
      WHERE
        "t4"."different" > 5
    ) AS "t6"
      ON "t3"."user_key" = "t6"."user_key"
    LEFT ANTI JOIN "t14" AS "t16"
      ON "t3"."event_id" = "t16"."event_id"
  ) AS "t17"
  UNION ALL
  SELECT
    *
  FROM (
    SELECT
      "t18"."event_id" AS "event_id",
      "t18"."kind" AS "kind",
      "t18"."decision_id" AS "decision_id",
      "t18"."creative_id" AS "creative_id",
      "t18"."product_id" AS "product_id",
      "t18"."position" AS "position",
      "t18"."at" AS "at",
      "t18"."received" AS "received",
      "t18"."user_key" AS "user_key",
      "t18"."device" AS "device"
    FROM (
      SELECT
        "t15"."event_id" AS "event_id",
        "t15"."kind" AS "kind",
        "t15"."decision_id" AS "decision_id",
        "t15"."creative_id" AS "creative_id",
        "t15"."product_id" AS "product_id",
        "t15"."position" AS "position",
        "t15"."at" AS "at",
        "t15"."received" AS "received",
        "t15"."user_key" AS "user_key",
        "t15"."device" AS "device",
        ROW_NUMBER() OVER (
          PARTITION BY "t15"."event_id"
          ORDER BY CAST(isNull("t15"."at") AS Nullable(Int8)) ASC, "t15"."at" ASC, CAST(isNull("t15"."received") AS Nullable(Int8)) ASC, "t15"."received" ASC, CAST(isNull("t15"."user_key") AS Nullable(Int8)) ASC, "t15"."user_key" ASC, CAST(isNull("t15"."device") AS Nullable(Int8)) ASC, "t15"."device" ASC, CAST(isNull("t15"."decision_id") AS Nullable(Int8)) ASC, "t15"."decision_id" ASC, CAST(isNull("t15"."creative_id") AS Nullable(Int8)) ASC, "t15"."creative_id" ASC, CAST(isNull("t15"."position") AS Nullable(Int8)) ASC, "t15"."position" ASC
          ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) - 1 AS "copy"
      FROM "t14" AS "t15"
    ) AS "t18"
    WHERE
      "t18"."copy" = 0
  ) AS "t19"
), "t22" AS (
  SELECT
    *
  FROM "t20" AS "t21"
  WHERE
    "t21"."kind" = 'click'
)
SELECT
  "t35"."creative_id" AS "creative_id",
  "t35"."product_id" AS "product_id",
  "t35"."position" AS "position",
  toDate('1970-01-01') + INTERVAL "t35"."day" DAY AS "day",
  "t35"."device" AS "device",
  "t35"."impressions" AS "impressions",
  "t35"."clicks" AS "clicks"
FROM (
  SELECT
    "t34"."creative_id" AS "creative_id",
    "t34"."product_id" AS "product_id",
    "t34"."position" AS "position",
    "t34"."day" AS "day",
    "t34"."device" AS "device",
    countIf("t34"."kind" = 'impression') AS "impressions",
    countIf("t34"."kind" = 'click') AS "clicks"
  FROM (
    SELECT
      *
    FROM (
      SELECT
        "t21"."kind" AS "kind",
        "t21"."creative_id" AS "creative_id",
        "t21"."product_id" AS "product_id",
        "t21"."position" AS "position",
        CAST(FLOOR((
          "t21"."at"
        ) / (
          86400
        )) AS Nullable(Int64)) AS "day",
        "t21"."device" AS "device"
      FROM "t20" AS "t21"
      WHERE
        "t21"."kind" = 'impression'
    ) AS "t23"
    UNION ALL
    SELECT
      *
    FROM (
      SELECT
        "t32"."kind" AS "kind",
        "t32"."creative_id" AS "creative_id",
        "t32"."product_id" AS "product_id",
        "t32"."position" AS "position",
        CAST(FLOOR((
          COALESCE("t32"."shown_at", "t32"."at")
        ) / (
          86400
        )) AS Nullable(Int64)) AS "day",
        COALESCE("t32"."shown_device", "t32"."device") AS "device"
      FROM (
        SELECT
          "t31"."event_id" AS "event_id",
          "t31"."kind" AS "kind",
          "t31"."decision_id" AS "decision_id",
          "t31"."creative_id" AS "creative_id",
          "t31"."product_id" AS "product_id",
          "t31"."position" AS "position",
          "t31"."at" AS "at",
          "t31"."received" AS "received",
          "t31"."user_key" AS "user_key",
          "t31"."device" AS "device",
          "t31"."decision_id_shown" AS "decision_id_shown",
          "t31"."creative_id_shown" AS "creative_id_shown",
          "t31"."found" AS "found",
          "t31"."shown_at" AS "shown_at",
          "t31"."shown_device" AS "shown_device",
          "t31"."fault" AS "fault",
          "t31"."skewed" AS "skewed",
          ROW_NUMBER() OVER (
            PARTITION BY "t31"."decision_id", "t31"."creative_id", "t31"."position", "t31"."fault"
            ORDER BY CAST(isNull("t31"."at") AS Nullable(Int8)) ASC, "t31"."at" ASC, "t31"."event_id" ASC
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
          ) - 1 AS "earlier"
        FROM (
          SELECT
            "t30"."event_id" AS "event_id",
            "t30"."kind" AS "kind",
            "t30"."decision_id" AS "decision_id",
            "t30"."creative_id" AS "creative_id",
            "t30"."product_id" AS "product_id",
            "t30"."position" AS "position",
            "t30"."at" AS "at",
            "t30"."received" AS "received",
            "t30"."user_key" AS "user_key",
            "t30"."device" AS "device",
            "t30"."decision_id_shown" AS "decision_id_shown",
            "t30"."creative_id_shown" AS "creative_id_shown",
            "t30"."found" AS "found",
            "t30"."shown_at" AS "shown_at",
            "t30"."shown_device" AS "shown_device",
            CASE
              WHEN COALESCE("t30"."found", 0) = 0
              THEN 'unmatched'
              WHEN COALESCE((
                "t30"."at" - "t30"."shown_at"
              ) < -60.0, FALSE)
              THEN 'early'
              WHEN COALESCE((
                (
                  "t30"."at" - "t30"."shown_at"
                ) / 3600
              ) > 24.0, FALSE)
              THEN 'expired'
              ELSE ''
            END AS "fault",
            CAST(COALESCE("t30"."at" < "t30"."shown_at", FALSE) AS Nullable(Int8)) AS "skewed"
          FROM (
            SELECT
              "t25"."event_id" AS "event_id",
              "t25"."kind" AS "kind",
              "t25"."decision_id" AS "decision_id",
              "t25"."creative_id" AS "creative_id",
              "t25"."product_id" AS "product_id",
              "t25"."position" AS "position",
              "t25"."at" AS "at",
              "t25"."received" AS "received",
              "t25"."user_key" AS "user_key",
              "t25"."device" AS "device",
              "t29"."decision_id" AS "decision_id_shown",
              "t29"."creative_id" AS "creative_id_shown",
              "t29"."found" AS "found",
              "t29"."shown_at" AS "shown_at",
              "t29"."shown_device" AS "shown_device"
            FROM "t22" AS "t25"
            LEFT OUTER JOIN (
              SELECT
                "t27"."decision_id" AS "decision_id",
                "t27"."creative_id" AS "creative_id",
                COUNT(*) AS "found",
                MIN("t27"."at") AS "shown_at",
                MIN("t27"."device") AS "shown_device"
              FROM (
                SELECT
                  "t11"."event_id" AS "event_id",
                  "t11"."kind" AS "kind",
                  "t11"."decision_id" AS "decision_id",
                  "t11"."creative_id" AS "creative_id",
                  "t11"."product_id" AS "product_id",
                  "t11"."position" AS "position",
                  "t11"."at" AS "at",
                  "t11"."received" AS "received",
                  "t11"."user_key" AS "user_key",
                  "t11"."device" AS "device"
                FROM (
                  SELECT
                    *
                  FROM "t7" AS "t8"
                  WHERE
                    "t8"."kind" = 'impression'
                ) AS "t11"
                LEFT SEMI JOIN "t22" AS "t26"
                  ON "t11"."decision_id" = "t26"."decision_id"
                  AND "t11"."creative_id" = "t26"."creative_id"
              ) AS "t27"
              GROUP BY
                "t27"."decision_id",
                "t27"."creative_id"
            ) AS "t29"
              ON "t25"."decision_id" = "t29"."decision_id"
              AND "t25"."creative_id" = "t29"."creative_id"
          ) AS "t30"
        ) AS "t31"
      ) AS "t32"
      WHERE
        CASE
          WHEN (
            "t32"."fault" = ''
          ) AND (
            "t32"."earlier" > 0
          )
          THEN 'repeated'
          ELSE "t32"."fault"
        END = ''
    ) AS "t33"
  ) AS "t34"
  GROUP BY
    "t34"."creative_id",
    "t34"."product_id",
    "t34"."position",
    "t34"."day",
    "t34"."device"
) AS "t35"
