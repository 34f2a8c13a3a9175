# SPDX-License-Identifier: Apache-2.0
"""Reads the files that round_trip_test and checkpoint_test write, as other people's scripts would: plain h5py."""
import os
import sys

import h5py
import numpy as np

COLUMNS = {
    "data": {"/tokens": "i4", "/offsets": "i8", "/prompt_length": "i4", "/tokenizer/pieces": "u1",
             "/tokenizer/piece_offsets": "i8", "/tokenizer/model": "u1"},
    "drafts": {"/tokens": "i4", "/offsets": "i8", "/example": "i8", "/sample": "i4", "/turn": "i4", "/logprob": "f4",
               "/sampled_logprob": "f4", "/finish_reason": "u1"},
    "woven": {"/input_tokens": "i4", "/target_tokens": "i4", "/loss_weight": "f4", "/origin": "u1",
              "/target_origin": "u1", "/offsets": "i8", "/example": "i8", "/sample": "i4", "/answer_start": "i4",
              "/method": "u1", "/uses/step": "i8", "/uses/lane": "i4", "/uses/row": "i4", "/uses/offset": "i4",
              "/uses/index": "i8"},
    "scores": {"/tokens": "i4", "/offsets": "i8", "/logprob": "f4"},
    "run": {"/steps/step": "i8", "/steps/round": "i8", "/steps/loss": "f8", "/steps/grad_norm": "f8",
            "/steps/learning_rate": "f8", "/steps/target_tokens": "i8", "/steps/seconds": "f8", "/steps/skipped": "u1", "/sweeps/kind": "S",
            "/sweeps/round": "i8", "/sweeps/tokens": "i8", "/sweeps/seconds": "f8", "/sweeps/busy": "f8",
            "/sweeps/busy_by_rank": "f8", "/sweeps/communication": "f8", "/memory/name": "S", "/memory/bytes": "i8",
            "/checkpoints/step": "i8", "/checkpoints/bytes": "i8", "/checkpoints/stall_seconds": "f8",
            "/checkpoints/write_seconds": "f8", "/events/time": "S", "/events/kind": "S", "/events/text": "S"},
    "checkpoint": {"/state/step": "i8", "/state/round": "i8", "/state/sweep": "i8", "/state/cursor": "i8",
                   "/state/rows_steps": "i8", "/parameters/embedding.weight": "f4",
                   "/optimizer/first_moment/embedding.weight": "f4",
                   "/optimizer/second_moment/embedding.weight": "f4", "/optimizer/master/embedding.weight": "f4"},
}
VOLATILE = ("/steps/seconds", "/sweeps/seconds", "/sweeps/busy", "/sweeps/busy_by_rank", "/sweeps/communication",
            "/memory/name", "/memory/bytes", "/checkpoints/step", "/checkpoints/bytes", "/checkpoints/stall_seconds",
            "/checkpoints/write_seconds", "/events/time", "/events/kind", "/events/text")


def check(path, kind):
    with h5py.File(path, "r") as file:
        assert file.attrs["format"] == "selvage-" + kind, file.attrs["format"]
        assert file.attrs["format_version"] == 1 and isinstance(file.attrs["format_version"], np.integer)
        for name in ("selvage_version", "git_commit", "created"):
            assert isinstance(file.attrs[name], str) and file.attrs[name], name
        if kind in ("drafts", "woven", "run", "checkpoint"):
            assert file.attrs["deck"].startswith("[run]\n")

        def visit(name, item):
            if isinstance(item, h5py.Dataset):
                item[()]
                assert item.attrs["description"] and item.attrs["units"], name
                assert ("volatile" in item.attrs) == ("/" + name in VOLATILE), name
                assert item.fletcher32 or item.size == 0 or item.shape == (), name
                assert item.chunks is not None or item.size == 0 or item.shape == (), name

        file.visititems(visit)
        for name, dtype in COLUMNS[kind].items():
            found = file[name].dtype
            assert found.kind == "S" if dtype == "S" else found == np.dtype("<" + dtype), (name, found)


def main():
    folder, size = sys.argv[1], int(sys.argv[2])
    for name in sorted(os.listdir(folder)):
        kind = "checkpoint" if name.startswith("step-") else name[: -len(".h5")]
        check(os.path.join(folder, name), kind)
        with h5py.File(os.path.join(folder, name), "r") as file:
            if kind in ("data", "drafts", "woven", "scores"):
                assert len(file["/offsets"]) == size + 1
            if kind == "data":
                table = file["/tokenizer"]
                pieces, offsets = bytes(table["pieces"][()]), table["piece_offsets"][()]
                assert len(offsets) == 258 and pieces[offsets[65]:offsets[66]] == b"A"
                assert table.attrs["kind"] == "bytes" and table.attrs["end_of_answer"] == 256
                assert table.attrs["begin"] == -1 and table.attrs["padding"] == -1
            if kind == "drafts":
                assert file.attrs["policy_step"] == 12 and file.attrs["temperature"] == 0.75
            if kind == "run" and size >= 2:
                assert file["/evaluations/forced_nll/value"][1] == 2.0
                assert np.isnan(file["/evaluations/context_gap/value"][1])
                assert file["/evaluations/context_gap_by_position/value"].shape[0] == size
                assert file["/sweeps/kind"][1].decode() == "train"
                assert file["/events/text"].asstr()[0] == "on 2 ranks \u2713"
            if kind == "checkpoint":
                assert int(file["/state/step"][()]) == 400 and int(file["/state/rows_sweeps"][()]) == 9
                assert np.array_equal(file["/optimizer/master/embedding.weight"], file["/parameters/embedding.weight"])
                assert "layers = 2" in file.attrs["model"] and "\u00e4" in file.attrs["deck"]


main()
