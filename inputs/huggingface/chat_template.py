# SPDX-License-Identifier: Apache-2.0
"""A model's chat template (Jinja), rendered as Hugging Face's transformers library renders it."""
import datetime
import json
import os

import jinja2
import jinja2.ext
import jinja2.sandbox

from folder_tokenizer import Stop


class TemplateProblem(Exception):
    """The template refuses a conversation, or writes no answer behind its prompt."""


class Generation(jinja2.ext.Extension):
    """{% generation %} ... {% endgeneration %}: marks the assistant's text; it is rendered as if the marks were not
    there."""
    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    """Unlike Jinja's own filter without escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment(now):
    made = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                        extensions=[Generation, jinja2.ext.loopcontrols])
    made.filters["tojson"] = to_json
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = now.strftime
    return made


def find_templates(folder, config):
    """Name to source: chat_template.jinja and additional_chat_templates/, or what tokenizer_config.json has."""
    files = {"default": os.path.join(folder, "chat_template.jinja")}
    more = os.path.join(folder, "additional_chat_templates")
    if os.path.isdir(more):
        files.update({name[:-len(".jinja")]: os.path.join(more, name) for name in sorted(os.listdir(more))
                      if name.endswith(".jinja")})
    sources = {}
    for name, path in files.items():
        if os.path.isfile(path):
            with open(path, encoding="utf-8") as file:
                sources[name] = file.read()
    if sources:
        return sources
    given = config.get("chat_template")
    if isinstance(given, str):
        return {"default": given}
    return {entry["name"]: entry["template"] for entry in given or []}


class ChatTemplate:
    """`special_tokens` (name to text) and keys of a record's "chat_template_kwargs" are the template's variables."""

    def __init__(self, folder, config, special_tokens, now=None):
        self.special_tokens = special_tokens
        self.sources = find_templates(folder, config)
        self.environment = environment(now or datetime.datetime.now())
        self.compiled = {}

    def choose(self, tools):
        name = "tool_use" if tools is not None and "tool_use" in self.sources else "default"
        if name not in self.sources:
            raise Stop(65, "the folder has no chat template (chat_template.jinja, or in tokenizer_config.json); write "
                                "one, or give plain pairs")
        if name not in self.compiled:
            try:
                self.compiled[name] = self.environment.from_string(self.sources[name])
            except jinja2.exceptions.TemplateSyntaxError as error:
                raise Stop(65, "the chat template is no Jinja template (%s, line %d); get the folder again"
                                    % (error.message, error.lineno)) from error
        return self.compiled[name]

    def render(self, messages, record, generation_prompt):
        # As transformers does: keys without a value are not there.
        messages = [{key: value for key, value in message.items() if value is not None} for message in messages]
        tools = record.get("tools")
        template = self.choose(tools)
        variables = {**self.special_tokens, **(record.get("chat_template_kwargs") or {})}
        try:
            return template.render(messages=messages, tools=tools, documents=record.get("documents"),
                                   add_generation_prompt=generation_prompt, **variables)
        except (jinja2.exceptions.TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise TemplateProblem("the chat template refuses the conversation (%s)" % error) from error

    def split(self, messages, record):
        """What the template writes before the last message's answer, with the opening of the assistant's turn, and
        what it writes then."""
        prompt = self.render(messages[:-1], record, True)
        whole = self.render(messages, record, False)
        if not whole.startswith(prompt):
            at = len(os.path.commonprefix([prompt, whole]))
            raise TemplateProblem("the chat template writes the turns before the answer differently once the answer is "
                                  "there: %r against %r" % (prompt[at:at + 40], whole[at:at + 40]))
        if len(whole) == len(prompt):
            raise TemplateProblem("the chat template leaves the answer out")
        return prompt, whole[len(prompt):]
