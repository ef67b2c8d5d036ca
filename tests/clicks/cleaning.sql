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
    WHERE
      "t0"."user_key" IS NOT NULL AND "t0"."at" IS NOT NULL
  ) AS "t1"
  GROUP BY
    1,
    2
) AS "t2"
WHERE
  "t2"."different" > 5;

-- impressions and clicks of every user
WITH "t1" AS (
  SELECT
    *
  FROM "without_busy" AS "t0"
  WHERE
    "t0"."user_key" IS NOT NULL AND "t0"."kind" = 'impression'
)
SELECT
  "t7"."user_key",
  "t7"."shown",
  COALESCE("t10"."clicked", 0) AS "clicked"
FROM (
  SELECT
    "t3"."user_key",
    COUNT(*) AS "shown"
  FROM "t1" AS "t3"
  GROUP BY
    1
) AS "t7"
LEFT OUTER JOIN (
  SELECT
    "t8"."user_key",
    COUNT(DISTINCT "t8"."decision_id") AS "clicked"
  FROM (
    SELECT
      "t5"."kind",
      "t5"."decision_id",
      "t5"."creative_id",
      "t5"."user_key"
    FROM "t1" AS "t5"
    SEMI JOIN (
      SELECT
        "t0"."decision_id",
        "t0"."creative_id",
        "t0"."user_key"
      FROM "without_busy" AS "t0"
      WHERE
        "t0"."user_key" IS NOT NULL AND "t0"."kind" = 'click'
    ) AS "t4"
      ON "t5"."decision_id" = "t4"."decision_id"
      AND "t5"."creative_id" = "t4"."creative_id"
      AND "t5"."user_key" = "t4"."user_key"
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
WITH "t6" AS (
  SELECT
    "t5"."event_id",
    "t5"."decision_id",
    "t5"."creative_id",
    "t5"."at",
    "t5"."kind",
    "t5"."user_key"
  FROM (
    SELECT
      *
    FROM "without_bots" AS "t1"
    WHERE
      "t1"."kind" = 'impression'
  ) AS "t5"
  SEMI JOIN "clicks" AS "t3"
    ON "t5"."decision_id" = "t3"."decision_id"
    AND "t5"."creative_id" = "t3"."creative_id"
)
SELECT
  "t16"."event_id",
  "t16"."kind",
  "t16"."creative_id",
  "t16"."product_id",
  "t16"."position",
  CASE
    WHEN (
      "t16"."fault" = ''
    )
    AND (
      "t16"."again" OR (
        "t16"."viewers" <= "t16"."earlier"
      )
    )
    THEN 'repeated'
    ELSE "t16"."fault"
  END AS "fault",
  "t16"."skewed",
  "t16"."user_key",
  COALESCE("t16"."shown_at", "t16"."at") AS "at"
FROM (
  SELECT
    "t15"."event_id",
    "t15"."decision_id",
    "t15"."creative_id",
    "t15"."at",
    "t15"."kind",
    "t15"."user_key",
    "t15"."product_id",
    "t15"."position",
    "t15"."decision_id_shown",
    "t15"."creative_id_shown",
    "t15"."found",
    "t15"."viewers",
    "t15"."shown_at",
    "t15"."decision_id_own",
    "t15"."creative_id_own",
    "t15"."user_key_own",
    "t15"."own_found",
    "t15"."own_viewers",
    "t15"."own_shown_at",
    "t15"."user",
    "t15"."fault",
    "t15"."skewed",
    "t15"."untimed",
    "t15"."again",
    ROW_NUMBER() OVER (
      PARTITION BY "t15"."decision_id", "t15"."creative_id", "t15"."position", "t15"."fault", "t15"."again"
      ORDER BY "t15"."untimed" ASC, "t15"."at" ASC, "t15"."event_id" ASC
      ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    ) - 1 AS "earlier"
  FROM (
    SELECT
      "t14"."event_id",
      "t14"."decision_id",
      "t14"."creative_id",
      "t14"."at",
      "t14"."kind",
      "t14"."user_key",
      "t14"."product_id",
      "t14"."position",
      "t14"."decision_id_shown",
      "t14"."creative_id_shown",
      "t14"."found",
      "t14"."viewers",
      "t14"."shown_at",
      "t14"."decision_id_own",
      "t14"."creative_id_own",
      "t14"."user_key_own",
      "t14"."own_found",
      "t14"."own_viewers",
      "t14"."own_shown_at",
      "t14"."user",
      "t14"."fault",
      "t14"."skewed",
      "t14"."untimed",
      (
        ROW_NUMBER() OVER (
          PARTITION BY "t14"."decision_id", "t14"."creative_id", "t14"."position", "t14"."fault", "t14"."user"
          ORDER BY "t14"."untimed" ASC, "t14"."at" ASC, "t14"."event_id" ASC
          ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) - 1
      ) > 0 AS "again"
    FROM (
      SELECT
        "t13"."event_id",
        "t13"."decision_id",
        "t13"."creative_id",
        "t13"."at",
        "t13"."kind",
        "t13"."user_key",
        "t13"."product_id",
        "t13"."position",
        "t13"."decision_id_shown",
        "t13"."creative_id_shown",
        "t13"."found",
        "t13"."viewers",
        CASE
          WHEN COALESCE("t13"."own_found", 0) > 0
          THEN "t13"."own_shown_at"
          ELSE "t13"."shown_at"
        END AS "shown_at",
        "t13"."decision_id_own",
        "t13"."creative_id_own",
        "t13"."user_key_own",
        "t13"."own_found",
        "t13"."own_viewers",
        "t13"."own_shown_at",
        COALESCE("t13"."user_key", '') AS "user",
        CASE
          WHEN COALESCE("t13"."found", 0) = 0
          THEN 'unmatched'
          WHEN COALESCE(
            (
              "t13"."at" - CASE
                WHEN COALESCE("t13"."own_found", 0) > 0
                THEN "t13"."own_shown_at"
                ELSE "t13"."shown_at"
              END
            ) < -60.0,
            FALSE
          )
          THEN 'early'
          WHEN COALESCE(
            (
              (
                "t13"."at" - CASE
                  WHEN COALESCE("t13"."own_found", 0) > 0
                  THEN "t13"."own_shown_at"
                  ELSE "t13"."shown_at"
                END
              ) / 3600
            ) > 24.0,
            FALSE
          )
          THEN 'expired'
          ELSE ''
        END AS "fault",
        CAST(COALESCE(
          "t13"."at" < CASE
            WHEN COALESCE("t13"."own_found", 0) > 0
            THEN "t13"."own_shown_at"
            ELSE "t13"."shown_at"
          END,
          FALSE
        ) AS TINYINT) AS "skewed",
        CAST("t13"."at" IS NULL AS TINYINT) AS "untimed"
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
          "t10"."decision_id" AS "decision_id_shown",
          "t10"."creative_id" AS "creative_id_shown",
          "t10"."found",
          "t10"."viewers",
          "t10"."shown_at",
          "t12"."decision_id" AS "decision_id_own",
          "t12"."creative_id" AS "creative_id_own",
          "t12"."user_key" AS "user_key_own",
          "t12"."own_found",
          "t12"."own_viewers",
          "t12"."own_shown_at"
        FROM "clicks" AS "t2"
        LEFT OUTER JOIN (
          SELECT
            "t7"."decision_id",
            "t7"."creative_id",
            COUNT(*) AS "found",
            COUNT(DISTINCT COALESCE("t7"."user_key", '')) AS "viewers",
            MIN("t7"."at") AS "shown_at"
          FROM "t6" AS "t7"
          GROUP BY
            1,
            2
        ) AS "t10"
          ON "t2"."decision_id" = "t10"."decision_id"
          AND "t2"."creative_id" = "t10"."creative_id"
        LEFT OUTER JOIN (
          SELECT
            "t9"."decision_id",
            "t9"."creative_id",
            "t9"."user_key",
            "t9"."found" AS "own_found",
            "t9"."viewers" AS "own_viewers",
            "t9"."shown_at" AS "own_shown_at"
          FROM (
            SELECT
              "t7"."decision_id",
              "t7"."creative_id",
              "t7"."user_key",
              COUNT(*) AS "found",
              COUNT(DISTINCT COALESCE("t7"."user_key", '')) AS "viewers",
              MIN("t7"."at") AS "shown_at"
            FROM "t6" AS "t7"
            GROUP BY
              1,
              2,
              3
          ) AS "t9"
        ) AS "t12"
          ON "t2"."decision_id" = "t12"."decision_id"
          AND "t2"."creative_id" = "t12"."creative_id"
          AND "t2"."user_key" = "t12"."user_key"
      ) AS "t13"
    ) AS "t14"
  ) AS "t15"
) AS "t16";

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
