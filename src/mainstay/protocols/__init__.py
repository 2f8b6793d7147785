"""Private RPC protocols described as data. The descriptions that come with Mainstay lie beside this file, one YAML each.

`description` is the language (read its docstring first), `read` makes it of YAML, `check` refuses what makes no sense, `compile`
turns it into the engine's plan, `detect` compares first bytes of several protocols, `capture` reads captured frames.
"""
