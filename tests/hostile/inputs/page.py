"""The table of hostile inputs for the reference."""

from tests.hostile.inputs import ABSENT, GROUPS


def tables() -> str:
    """Return a section for each group, and one for what is not in the table."""
    sections = [
        f"## {title}\n\n| what is sent | what the server does |\n| --- | --- |\n"
        + "\n".join(f"| {_cell(entry.says)} | {_cell(entry.attack.does)} |" for entry in entries)
        for title, entries in GROUPS.items()
    ]
    absent = "\n".join(f"| {_cell(each.says)} | {_cell(each.why)} |" for each in ABSENT)
    sections.append(f"## Not in this table\n\n| what | why, and where |\n| --- | --- |\n{absent}")
    return "\n\n".join(sections)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", "\\n").replace("\x00", "\\0")
