"""Renders the templates beside it as transformers does, and writes expected.json: python3 render.py, with jinja2 (3.1.6)."""

import json
from pathlib import Path

from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

FOLDER = Path(__file__).parent
CONVERSATIONS = json.loads((FOLDER / "conversations.json").read_text("utf-8"))


def refuse(message):
    raise TemplateError(message)


def day(form):
    return {"%d %b %Y": "26 Jul 2024"}[form]


environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
environment.globals["raise_exception"] = refuse
environment.globals["strftime_now"] = day


def rendered(template, messages, add_generation_prompt):
    try:
        return {
            "text": template.render(
                messages=messages, add_generation_prompt=add_generation_prompt, bos_token="<s>", eos_token="</s>"
            )
        }
    except TemplateError as error:
        return {"refusal": str(error)}


expected = {}
for file in sorted(FOLDER.glob("*.jinja")):
    template = environment.from_string(file.read_text("utf-8"))
    expected[file.stem] = {
        name: {str(prompt).lower(): rendered(template, messages, prompt) for prompt in (False, True)}
        for name, messages in CONVERSATIONS.items()
    }
(FOLDER / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, indent=1) + "\n", "utf-8")
