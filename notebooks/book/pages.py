"""Lessons, README and modules -> the pages of the book (hooks of MkDocs), and a check of every link in it."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Page

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "taskadapter_lite"
TEXTS = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
IMAGES = {"image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpg", "image/gif": "gif"}  # the first is shown
WIDGET = "application/vnd.jupyter.widget-view+json"
DOWNLOAD = "This notebook as a file"
HIDDEN = {"__main__.py"}  # and what begins with one underscore, and the verbs: `--help` is their reference


# ---- hooks


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages in order."""
    folder = Path(config.docs_dir)
    lessons = sorted(folder.glob("*.ipynb"), key=lambda path: (not path.name[0].isdigit(), path.name))
    assignments = sorted((folder / "assignments" / "release").glob("*/*.ipynb"))
    config.nav = [
        {"Home": "index.md"},
        {"Lessons": [page_of(path.relative_to(folder)) for path in lessons]},
        {"Assignments": [page_of(path.relative_to(folder)) for path in assignments]},
        {"Results": "results/README.md"},
        {"Library": rooms()},
        {"Contributing": ["contributing.md", "changelog.md"]},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made from other files: texts of the repository, lessons, modules."""
    for page, name in TEXTS.items():
        text = (ROOT / name).read_text("utf-8").replace("](notebooks/", "](").replace('src="notebooks/', 'src="')
        files.append(File.generated(config, page, content=linked(text, Path(page), config)))
    for page, name in modules().items():
        files.append(File.generated(config, page, content=f"# `{name}`\n\n::: {name}\n"))
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        page, notebook = page_of(Path(file.src_uri)), json.loads(file.content_string)
        text = "\n\n".join(written(notebook, Path(page), files, config))
        files.append(File.generated(config, page, content=linked(text, Path(page), config)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page of results is Markdown as it is; only its links into the repository are cut."""
    return linked(markdown, Path(page.file.src_uri), config) if page.file.src_uri.endswith("README.md") else markdown


def on_page_content(content: str, **_: Any) -> str:
    """Write formulas as MathML, which browsers show without a script."""
    formula = r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>'
    return re.sub(
        formula, lambda m: convert(html.unescape(m[3]), display="block" if m[2] == "[" else "inline"), content
    )


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a book with a link that leads nowhere."""
    broken = broken_links(Path(config.site_dir))
    if broken:
        raise PluginError("links that lead nowhere:\n" + "\n".join(broken))


# ---- pages


def modules() -> dict[str, str]:
    """Page -> public module, top folder first."""
    files = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")]
    shown = [
        file
        for file in files
        if file.parts[0] != "commands"
        and file.name not in HIDDEN
        and (not file.name.startswith("_") or file.name == "__init__.py")
    ]
    pages = {}
    for file in sorted(shown, key=lambda file: (len(file.parts) > 1, file.parent, file.name)):
        inside = file.parent.parts if file.name == "__init__.py" else file.with_suffix("").parts
        name = ".".join([PACKAGE.name, *inside])
        pages[f"library/{'/'.join(inside) or 'front_door'}.md"] = name
    return pages


def rooms() -> list[dict[str, Any]]:
    """The modules by room, for the list of pages."""
    found: dict[str, Any] = {}
    for page, name in modules().items():
        first, *rest = name.split(".")[1:] or ["front door"]
        if rest:
            found.setdefault(first, []).append({".".join(rest): page})
        else:
            found[first] = [{"overview": page}] if (PACKAGE / first).is_dir() else page
    return [{title: entry} for title, entry in found.items()]


def page_of(notebook: Path) -> str:
    """The page of a notebook."""
    return notebook.with_suffix(".md").as_posix()


def written(notebook: dict, page: Path, files: Files, config: MkDocsConfig) -> Iterator[str]:
    """The cells of a notebook as Markdown; pictures become files."""
    folder = page.with_suffix("")
    for number, cell in enumerate(notebook["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield spaced(source)
            if number == 0:
                yield f"[{DOWNLOAD}]({folder.name}.ipynb)"
        elif cell["cell_type"] == "code" and source:
            yield fenced(source, "python")
            for place, output in enumerate(cell["outputs"]):
                yield shown(output, f"{folder.as_posix()}/{number}_{place}", files, config)


def shown(output: dict, stem: str, files: Files, config: MkDocsConfig) -> str:
    """One output of a cell as Markdown."""
    if output["output_type"] == "stream":
        return fenced("".join(output["text"]), "text")
    if output["output_type"] == "error":
        return fenced("\n".join(output["traceback"]), "text")
    data = {kind: "".join(text) if isinstance(text, list) else text for kind, text in output["data"].items()}
    for kind, suffix in IMAGES.items():
        if kind in data:
            content = data[kind].encode() if suffix == "svg" else base64.b64decode(data[kind])
            files.append(File.generated(config, f"{stem}.{suffix}", content=content))
            alt = output.get("metadata", {}).get(kind, {}).get("alt", "")
            source = "/".join(Path(f"{stem}.{suffix}").parts[-2:])
            return f'<figure><img src="{source}" alt="{html.escape(alt)}"></figure>'
    if WIDGET in data:
        return "*Here is a widget; it moves where the notebook runs.*"
    if "text/html" in data:
        lines = [line.strip() for line in data["text/html"].splitlines()]  # an empty one would end the block
        return f'<div class="output">{" ".join(filter(None, lines))}</div>'
    return spaced(data["text/markdown"]) if "text/markdown" in data else fenced(data["text/plain"], "text")


def fenced(text: str, language: str) -> str:
    """A block of code or of output, without colours of a terminal and overwritten lines."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.rstrip().split("\n"))
    fence = "`" * (3 + max((len(run) for run in re.findall(r"`{3,}", text)), default=0))
    return f"{fence}{{ .{language}{'' if language == 'python' else ' .output'} }}\n{text}\n{fence}" if text else ""


def spaced(text: str) -> str:
    """Markdown of a notebook in the stricter form that MkDocs reads: room before lists, Markdown in folded answers."""
    text = re.sub(r"^((?!\s*(?:[-*]|\d+\.) |  ).*\S.*)\n(?=(?:[-*]|\d+\.) )", r"\1\n\n", text, flags=re.MULTILINE)
    return text.replace("<details>", '<details markdown="1">')


def linked(text: str, page: Path, config: MkDocsConfig) -> str:
    """Links to notebooks lead to their pages; those to what is in the repository alone become plain words."""

    folder = Path(config.docs_dir).resolve()

    def kept(match: re.Match) -> str:
        label, target = match[1], match[2]
        path, _, anchor = target.partition("#")
        if not path or urlsplit(target).scheme or label == DOWNLOAD:
            return match[0]
        if path in TEXTS.values():
            return f"[{label}]({next(to for to, name in TEXTS.items() if name == path)})"
        if (ROOT / path).exists() and page.as_posix() in TEXTS:
            return label
        there = (folder / page.parent / path).resolve()
        if there.suffix == ".ipynb" and there.is_file() and "source" not in there.parts:
            place = f"#{anchor.lower()}" if anchor else ""  # JupyterLab keeps capitals of headings, MkDocs does not
            return f"[{label}]({path.removesuffix('.ipynb')}.md{place})"
        in_book = there.is_file() and there.is_relative_to(folder) and there.name != "TEACHERS.md"
        return label if there.exists() and not in_book else match[0]

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", kept, text)


# ---- links


class _Links(HTMLParser):
    """What a page links to, and the places on it that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.names = {"", "__skip"}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.targets.append(value)
            elif name in ("id", "name") and value:
                self.names.add(value)


def broken_links(site: Path) -> list[str]:
    """`page: link` for each link of a built site that leads to no file or no place in it; other sites are not asked."""
    pages = {path.resolve(): _Links(path.read_text("utf-8")) for path in site.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # its links are absolute, for a server
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            to = to / "index.html" if to.is_dir() else to
            if not to.is_file() or (to in pages and unquote(parts.fragment) not in pages[to].names):
                broken.append(f"{path.relative_to(site.resolve())}: {target}")
    return broken
