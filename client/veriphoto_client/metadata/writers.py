"""Recognises what image generators write. Says the generator's name and the fields' names, never a word of a field.

Where each layout was looked up stands with its test, in ``tests/unit/serving/gateway/writers_kit.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

PNG_KEYWORDS: Final = {
    "parameters": "",  # web UIs, Fooocus and SwarmUI share it
    "prompt": "",
    "workflow": "",
    "generation_data": "",
    "negative_prompt": "",
    "invokeai_metadata": "InvokeAI",
    "invokeai_workflow": "InvokeAI",
    "invokeai_graph": "InvokeAI",
    "sd-metadata": "InvokeAI",
    "dream": "InvokeAI",
    "fooocus_scheme": "Fooocus",
    "parameters-json": "Stability Matrix",
    "smproj": "Stability Matrix",
    "use_stable_diffusion_model": "Easy Diffusion",
    "aigc": "AIGC label",
}
"""PNG keywords, in lower case, that only generators write, and the one that writes it where there is only one."""

_PLAIN: Final = {
    name.lower(): name
    for name in ("Title", "Author", "Description", "Copyright", "Software", "Source", "Comment", "Dream", "AIGC")
}

# Fields in which software names itself. People write into the others, and may have a firefly in their title.
# fmt: off
_NAMED: Final = frozenset((
    "Software", "CreatorTool", "Credit", "Make", "Model", "HostComputer", "Source", "OriginatingProgram",
))
# fmt: on
_LONGEST_NAME: Final = 200
_NAMES: Final = tuple(
    (tool, re.compile(pattern, re.IGNORECASE))
    for tool, pattern in (
        ("SwarmUI", r"swarm ?ui"),
        ("ComfyUI", r"comfy ?ui"),
        ("InvokeAI", r"invoke ?ai"),
        ("Fooocus", r"fooocus"),
        ("NovelAI", r"novelai"),
        ("Draw Things", r"^draw things"),
        ("DiffusionBee", r"diffusionbee"),
        ("Easy Diffusion", r"easy diffusion"),
        ("AI Horde", r"(ai|stable) horde"),
        ("Stable Diffusion web UI", r"automatic1111|\ba1111\b|stable diffusion web ?ui|sd\.next"),
        ("Midjourney", r"midjourney"),
        ("Adobe Firefly", r"adobe[ _]?firefly|^firefly( [\d.]+)?$"),
        ("OpenAI", r"openai|chatgpt|dall[-·. ]?e\b|gpt[- ]?image|^gpt-?4o|^sora\b"),
        ("Google AI", r"(made|created|edited) (with|by) google ai|google (c2pa core generator|generative ai|imagen)"),
        ("Google AI", r"google gemini|gemini [\d.]+ .*image|nano banana|^imagen \d"),
        ("Microsoft Designer", r"microsoft[ _](responsible[ _]ai|designer)|bing image creator|image creator from"),
        ("Amazon Titan", r"amazon (titan|nova)"),
        ("Ideogram", r"ideogram"),
        ("Leonardo.Ai", r"leonardo\.ai"),
        ("FLUX", r"black forest labs|\bflux[-. ]?(1|2|dev|pro|schnell)\b"),
        ("Recraft", r"^recraft"),
        ("Stable Diffusion", r"stable ?diffusion|\bsdxl\b|stability ai|dreamstudio"),
    )
)
_SAYS_AI: Final = re.compile(r"ai[- ]generated|(generated|created|made) (with|by|using) ai", re.IGNORECASE)
# What a text is shaped like: one of the words stands in it, and all of the patterns.
_SHAPES: Final = tuple(
    (tool, words, tuple(re.compile(each) for each in patterns))
    for tool, words, *patterns in (
        ("SwarmUI", ('"sui_image_params"', '"sui_extra_data"')),
        ("ComfyUI", ('"class_type"',), r'"class_type"\s*:'),
        ("ComfyUI", ('"last_node_id"', '"last_link_id"'), r'"nodes"\s*:'),
        ("ComfyUI", ('"nodes"',), r'"nodes"\s*:\s*\[', r'"links"\s*:'),
        ("InvokeAI", ('"core_metadata"', '"model_weights"')),
        ("InvokeAI", ('"generation_mode"', '"positive_prompt"'), r'"(app_version|model|seed)"\s*:'),
        ("Fooocus", ('"fooocus_v2_expansion"', '"Fooocus V2 Expansion"', '"version": "Fooocus', '"RuinedFooocus"')),
        ("Fooocus", ('"metadata_scheme"', '"Metadata Scheme"'), r'"[Mm]etadata[_ ][Ss]cheme"\s*:\s*"(fooocus|a1111)"'),
        ("Fooocus", ('"base_model"', '"Base Model"'), r'"[Pp]erformance"\s*:'),
        ("NovelAI", ('"signed_hash"', '"v4_prompt"', '"PromptGenerateRequest"', "NovelAI generated image")),
        ("Draw Things", ('"c"',), r'"c"\s*:\s*"', r'"uc"\s*:', r'"(model|sampler|seed)"\s*:'),
        ("NovelAI", ('"uc"',), r'"(sampler|scale)"\s*:', r'"(noise|strength|n_samples|cfg_rescale|steps)"\s*:'),
        ("Easy Diffusion", ("use_stable_diffusion_model",)),
        ("Midjourney", ("Job ID:",), r"Job ID: ?[0-9a-f]{8}-[0-9a-f]{4}-"),
        ("Midjourney", ("--v ", "--niji "), r"(^|\s)--(v|niji) \d"),
        ("Mochi Diffusion", ("Generator: Mochi Diffusion",)),
        ("Stable Diffusion web UI", ("Steps:",), r"\bSteps: ?\d+, ", r"\b(Sampler|CFG scale|Guidance Scale|Seed): "),
        ("AIGC label", ('"ContentProducer"', '"ContentPropagator"'), r'"Label"\s*:\s*"?[123]'),
    )
)
_LOOKED_AT: Final = 100_000
"""Characters of a text's beginning, and of its end, that are looked at."""
_COMFY: Final = re.compile(r"\s*(prompt|workflow)\s*:\s*[\[{\"]", re.IGNORECASE)
_RANKS: Final = {tool: rank for rank, tool in reversed([*enumerate(row[0] for row in (*_SHAPES, *_NAMES))])}


class Text(NamedTuple):
    """One text of a file and our name for the field it stands in."""

    field: str
    value: str


@dataclass(frozen=True, slots=True)
class Generated:
    """What generators have written; empty where none was recognised."""

    fields: tuple[str, ...]
    tool: str


def png_text(keyword: str, value: str) -> Text:
    """Names the field of a PNG text: by its keyword if that is known, for a keyword can be anything as well."""
    lower = keyword.lower()
    return Text(_PLAIN.get(lower) or (lower if lower in PNG_KEYWORDS else "text"), value)


def recognise(texts: Iterable[Text]) -> Generated:
    """Looks through the texts of one file.

    Args:
        texts: All of them.
    """
    fields: set[str] = set()
    tools: list[tuple[bool, int, str]] = []
    for text in texts:
        for field, tool, named in _found(text):
            fields.add(field)
            if tool:
                # A name is worth more than a shape, which many tools share.
                tools.append((not named, _RANKS.get(tool, len(_RANKS)), tool))
    return Generated(tuple(sorted(fields, key=str.lower)), min(tools)[2] if tools else "")


def tool_named(value: str) -> str:
    """Returns the generator that a short text names; empty if it names none."""
    short = value[:_LONGEST_NAME]
    return next((tool for tool, pattern in _NAMES if pattern.search(short)), "")


def _found(text: Text) -> Iterable[tuple[str, str, bool]]:
    comfy = _COMFY.match(text.value)
    if comfy and text.field not in PNG_KEYWORDS:
        # ComfyUI has no fields of its own in EXIF: `prompt:{...}` stands in Model, `workflow:{...}` in Make.
        yield comfy[1].lower(), "ComfyUI", False
        return
    shape = _shape(text.value)
    lower = text.field.lower()
    if lower in PNG_KEYWORDS:
        own = PNG_KEYWORDS[lower]
        yield text.field, own or shape, bool(own)
    elif text.field in ("AISystemUsed", "AIPromptInformation"):
        yield text.field, tool_named(text.value), True
    elif text.field in _NAMED and len(text.value) <= _LONGEST_NAME and (tool := tool_named(text.value)):
        yield text.field, tool, True
    elif text.field == "Credit" and _SAYS_AI.fullmatch(text.value.strip()):
        yield text.field, "", True
    elif text.field == "MakerNote":
        if text.value in ("fooocus", "a1111"):
            yield text.field, "Fooocus", True
    elif shape:
        yield text.field, shape, False


def _shape(value: str) -> str:
    if len(value) > 2 * _LOOKED_AT:
        value = value[:_LOOKED_AT] + "\n" + value[-_LOOKED_AT:]
    for tool, words, patterns in _SHAPES:
        if any(word in value for word in words) and all(each.search(value) for each in patterns):
            return tool
    return ""
