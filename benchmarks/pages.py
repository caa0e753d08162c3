"""Tables in pages, between the marks <!-- NAME --> and <!-- /NAME -->."""


def with_table(text: str, name: str, table: str) -> str:
    """`text` with `table` for what stands between the marks of that name; as it is where there are none."""
    before, start, rest = text.partition(f"<!-- {name} -->")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    return f"{before}{start}\n{table}\n{end}{after}" if start and end else text
