# SPDX-License-Identifier: Apache-2.0
"""python3 huggingface_same.py FOLDER OTHER [FOLDER OTHER ...]: whether transformers reads the same model from both, bit
for bit."""
import sys

import torch
import transformers

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
status = 0
for first, second in zip(sys.argv[1::2], sys.argv[2::2]):
    a, b = (transformers.AutoModelForCausalLM.from_pretrained(folder) for folder in (first, second))
    states = a.state_dict(), b.state_dict()
    same = (a.config.to_dict() | {"_name_or_path": ""} == b.config.to_dict() | {"_name_or_path": ""}
            and states[0].keys() == states[1].keys()
            and all(x.dtype == states[1][name].dtype and torch.equal(x, states[1][name]) for name, x in states[0].items()))
    print(f"{second}: {'the same as' if same else 'differs from'} {first}")
    status = status if same else 1
sys.exit(status)
