# SPDX-License-Identifier: Apache-2.0
"""Several runs: which are seeds of one setting, what a setting is called, and which runs answer the same task."""
import dataclasses
import re

# Where a run was, not what it computed (README.md, "Stopping and going on"), and where its bits do not depend on it.
PLACE = ("run.seed", "run.out", "run.walltime", "run.hang_minutes", "grid.data", "grid.transport",
         "checkpoint.every_steps", "checkpoint.every_minutes", "checkpoint.keep", "checkpoint.writers", "train.shard",
         "train.threads_per_rank", "train.recompute", "generate.streams", "generate.cache_mib")


@dataclasses.dataclass
class Group:
    """Runs of one setting, one for each seed, by seed."""
    label: str
    runs: list

    @property
    def seeds(self):
        return [run.seed for run in self.runs]


def settings_of(run):
    """Key -> value of all that makes the setting: the deck without place and seed. The seed in model.from (a start for
    each seed) is taken out, where it stands last."""
    settings = {}
    for table, keys in run.deck.items():
        _flatten(table, keys, settings)
    settings = {name: value for name, value in settings.items() if name not in PLACE}
    if settings.get("model.from"):
        settings["model.from"] = re.sub(rf"^(.*)(?<!\d){run.seed}(?!\d)", r"\1SEED", str(settings["model.from"]))
    return settings


def _flatten(name, value, into):
    if isinstance(value, dict):
        for key, inner in value.items():
            _flatten(f"{name}.{key}", inner, into)
    else:
        into[name] = value


def group_runs(runs):
    """Groups in the order in which their first runs are given. A setting is called by its method; where two settings
    have the same method, by what differs between them as well."""
    settings = [settings_of(run) for run in runs]
    groups = []
    for run, setting in zip(runs, settings):
        same = next((group for group in groups if group[0] == setting), None)
        if same is None:
            groups.append((setting, [run]))
        else:
            same[1].append(run)
    result = []
    for setting, members in groups:
        namesakes = [other for other, others in groups if others[0].method == members[0].method]
        extra = [
            name for name in setting if any(other.get(name) != setting[name]
                                            for other in namesakes) and not name.startswith(("data.", "weave.method"))]
        label = members[0].method
        if extra:
            label += " (" + ", ".join(f"{name} {setting[name]}" for name in extra[:4]) + ")"
        result.append(Group(label, sorted(members, key=lambda run: (run.seed, str(run.folder)))))
    _number_namesakes(result)
    return result


def _number_namesakes(groups):
    labels = [group.label for group in groups]
    for i, group in enumerate(groups):
        if labels.count(group.label) > 1:
            group.label += f" #{labels[:i + 1].count(group.label)}"


def tasks_of(runs):
    """Task name -> its runs. Runs are of one task where they are measured on the same held-out files. A task ("" where
    there is one) is called by the folder that its runs are in, if that tells tasks apart, else by what of those files'
    paths does."""
    tasks = {}
    for run in runs:
        tasks.setdefault(tuple(map(str, run.deck_paths("data.heldout"))), []).append(run)
    if len(tasks) == 1:
        return {"": runs}
    folders = {key: {run.folder.resolve().parent.name for run in members} for key, members in tasks.items()}
    if all(len(names) == 1 for names in folders.values()) and len(set.union(*folders.values())) == len(tasks):
        return {folders[key].pop(): members for key, members in tasks.items()}
    words = {key: [word for path in key for word in re.split(r"[/.]", path) if word] for key in tasks}
    shared = set.intersection(*(set(found) for found in words.values()))
    named = {}
    for number, (key, members) in enumerate(tasks.items(), 1):
        name = " ".join(word for word in words[key] if word not in shared) or f"task {number}"
        named[name if name not in named else f"{name} {number}"] = members
    return named
