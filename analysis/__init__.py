# SPDX-License-Identifier: Apache-2.0
"""Looking at Selvage's output folders. From the root of the repository: python3 -m analysis --help.

As a library:

    from analysis import Run, Samples
    run = Run("out/quickstart")                 # the run log, read whole (it is small)
    run.steps["loss"]                           # float64 (steps,), nats per target token
    run.metric("free_agreement").value          # float64 (evaluations,), with .low and .high, the 95% interval
    with Samples(run) as samples:               # drafts and woven files, of which only what is asked for is read
        samples.of_round(4, count=10)[0].lines

Arrays are numpy arrays in the types of the files; README.md, "Files", says what every dataset is.
"""
from .errors import AnalysisError
from .files import Ragged, SelvageFile
from .groups import Group, group_runs, tasks_of
from .run import Metric, Run
from .samples import Line, Sample, Samples
from .statistics import holm, mean_interval, paired_bootstrap, paired_t
from .tokenizer import Tokenizer

__all__ = [
    "AnalysisError", "Group", "Line", "Metric", "Ragged", "Run", "Sample", "Samples", "SelvageFile", "Tokenizer",
    "group_runs", "holm", "mean_interval", "paired_bootstrap", "paired_t", "tasks_of"]
