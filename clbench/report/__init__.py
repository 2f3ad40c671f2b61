"""Records -> one HTML file that needs nothing else: tables, heat maps, curves, where they are from.

`contents` gathers what the records of a suite have to say, `plots` draws it as SVG, and `page` puts
both into the template beside them. Numbers of the tables are those of `clbench.tables`, written as
`clbench.render` writes them.
"""
