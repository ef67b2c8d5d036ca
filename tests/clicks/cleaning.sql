-- users too busy to be people
SELECT DISTINCT
  "t2"."user_key"
FROM (
  SELECT
    "t1"."user_key",
    "t1"."minute",
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
      )) AS BIGINT) AS "minute"
    FROM "timely" AS "t0"
    WHERE
      "t0"."user_key" IS NOT NULL AND "t0"."at" IS NOT NULL
  ) AS "t1"
  GROUP BY
    1,
    2
) AS "t2"
WHERE
  "t2"."different" > 5;

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
  FROM "human" AS "t2"
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
  "t5"."event_id"
FROM (
  SELECT
    "t4"."event_id",
    "t4"."at",
    "t4"."decision_id",
    "t4"."creative_id",
    "t4"."position",
    "t4"."user_key",
    ROW_NUMBER() OVER (
      PARTITION BY "t4"."decision_id", "t4"."creative_id", "t4"."position", "t4"."user_key"
      ORDER BY CAST("t4"."at" IS NULL AS TINYINT) ASC, "t4"."at" ASC, "t4"."event_id" ASC
      ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    ) - 1 AS "copy"
  FROM (
    SELECT
      "t3".*
      EXCLUDE ("copies")
    FROM (
      SELECT
        *
      FROM (
        SELECT
          "t1"."event_id",
          "t1"."at",
          "t1"."decision_id",
          "t1"."creative_id",
          "t1"."position",
          "t1"."user_key",
          COUNT(*) OVER (
            PARTITION BY "t1"."decision_id", "t1"."creative_id", "t1"."position", "t1"."user_key"
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
          ) AS "copies"
        FROM (
          SELECT
            "t0"."event_id",
            "t0"."at",
            "t0"."decision_id",
            "t0"."creative_id",
            "t0"."position",
            "t0"."user_key"
          FROM "impressions" AS "t0"
        ) AS "t1"
      ) AS "t2"
      WHERE
        "t2"."copies" > 1
    ) AS "t3"
  ) AS "t4"
) AS "t5"
WHERE
  "t5"."copy" > 0;

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
    ) AND (
      "t11"."earlier" > 0
    )
    THEN 'repeated'
    ELSE "t11"."fault"
  END AS "fault",
  "t11"."skewed",
  COALESCE("t11"."shown_at", "t11"."at") AS "at"
FROM (
  SELECT
    "t10"."event_id",
    "t10"."decision_id",
    "t10"."creative_id",
    "t10"."at",
    "t10"."kind",
    "t10"."product_id",
    "t10"."position",
    "t10"."decision_id_shown",
    "t10"."creative_id_shown",
    "t10"."found",
    "t10"."shown_at",
    "t10"."fault",
    "t10"."skewed",
    ROW_NUMBER() OVER (
      PARTITION BY "t10"."decision_id", "t10"."creative_id", "t10"."position", "t10"."fault"
      ORDER BY CAST("t10"."at" IS NULL AS TINYINT) ASC, "t10"."at" ASC, "t10"."event_id" ASC
      ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    ) - 1 AS "earlier"
  FROM (
    SELECT
      "t9"."event_id",
      "t9"."decision_id",
      "t9"."creative_id",
      "t9"."at",
      "t9"."kind",
      "t9"."product_id",
      "t9"."position",
      "t9"."decision_id_shown",
      "t9"."creative_id_shown",
      "t9"."found",
      "t9"."shown_at",
      CASE
        WHEN COALESCE("t9"."found", 0) = 0
        THEN 'unmatched'
        WHEN COALESCE((
          "t9"."at" - "t9"."shown_at"
        ) < -60.0, FALSE)
        THEN 'early'
        WHEN COALESCE((
          (
            "t9"."at" - "t9"."shown_at"
          ) / 3600
        ) > 24.0, FALSE)
        THEN 'expired'
        ELSE ''
      END AS "fault",
      CAST(COALESCE("t9"."at" < "t9"."shown_at", FALSE) AS TINYINT) AS "skewed"
    FROM (
      SELECT
        "t2"."event_id",
        "t2"."decision_id",
        "t2"."creative_id",
        "t2"."at",
        "t2"."kind",
        "t2"."product_id",
        "t2"."position",
        "t8"."decision_id" AS "decision_id_shown",
        "t8"."creative_id" AS "creative_id_shown",
        "t8"."found",
        "t8"."shown_at"
      FROM "clicks" AS "t2"
      LEFT OUTER JOIN (
        SELECT
          "t6"."decision_id",
          "t6"."creative_id",
          COUNT(*) AS "found",
          MIN("t6"."at") AS "shown_at"
        FROM (
          SELECT
            "t5"."event_id",
            "t5"."decision_id",
            "t5"."creative_id",
            "t5"."at",
            "t5"."kind"
          FROM (
            SELECT
              *
            FROM "human" AS "t1"
            WHERE
              "t1"."kind" = 'impression'
          ) AS "t5"
          SEMI JOIN "clicks" AS "t3"
            ON "t5"."decision_id" = "t3"."decision_id"
            AND "t5"."creative_id" = "t3"."creative_id"
        ) AS "t6"
        GROUP BY
          1,
          2
      ) AS "t8"
        ON "t2"."decision_id" = "t8"."decision_id"
        AND "t2"."creative_id" = "t8"."creative_id"
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
