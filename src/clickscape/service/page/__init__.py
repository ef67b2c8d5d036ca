"""The page: where people make, review and watch creatives. HTML from templates, htmx, one style sheet, no build step.

`sessions` signs people in; `create`, `review`, `live` and `catalog` are the four pages; `store` reads what they show.
"""
