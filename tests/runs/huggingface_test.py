# SPDX-License-Identifier: Apache-2.0
"""Folders of the transformers library: in, out again bit for bit, generated from, trained from; and bad ones."""
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

from support import SELVAGE, JobTest, h5py, numpy, program, unittest

FOLDERS = pathlib.Path(__file__).resolve().parents[1] / "reference" / "huggingface"
sys.path += [str(FOLDERS.parent), str(FOLDERS.parents[1] / "support")]
from packages import interpreter_with  # noqa: E402
from reference_file import read  # noqa: E402

CASES = sorted(path.name for path in FOLDERS.iterdir() if path.is_dir())


def tensors(folder):
    """Name to (dtype, shape, bytes), of all files; and the files' names."""
    found, files = {}, []
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8:8 + length])
        header.pop("__metadata__", None)
        files.append(path.name)
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            assert name not in found
            found[name] = (entry["dtype"], entry["shape"], data[8 + length + begin:8 + length + end])
    return found, files


def others(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if "safetensors" not in path.name}


class Folders(JobTest):
    def done(self, arguments, ranks=1):
        code, output, errors = program(arguments, ranks)
        self.assertEqual(code, 0, f"{arguments}\n{output}\n{errors}")
        return output + errors

    def copy(self, case, name):
        folder = self.folder / name
        shutil.copytree(FOLDERS / case, folder)
        return folder

    @staticmethod
    def write_ids(path, tokens, offsets, prompt_length):
        """A data file of ids that the small models have."""
        with h5py.File(path, "w") as file:
            file.attrs["format"], file.attrs["format_version"] = "selvage-data", 1
            file["tokens"], file["offsets"] = numpy.array(tokens, "<i4"), numpy.array(offsets, "<i8")
            file["prompt_length"] = numpy.array(prompt_length, "<i4")
            file["tokenizer/pieces"] = numpy.zeros(0, "u1")
            file["tokenizer/piece_offsets"] = numpy.zeros(97, "<i8")
            file["tokenizer"].attrs.update(kind="ids", end_of_answer=2, begin=1, padding=-1)


class HuggingFace(Folders):
    def test_there_and_back(self):
        for ranks, case in enumerate(CASES):
            ranks = ranks % 3 + 1
            with self.subTest(case=case, ranks=ranks):
                model, back = self.folder / f"{case}.h5", self.folder / f"{case}-back"
                self.done(["import", FOLDERS / case, model], ranks)
                self.done(["check", model])
                self.done(["export", model, back, "--shard-mib", "1"], 4 - ranks)
                self.assertEqual(tensors(back)[0], tensors(FOLDERS / case)[0])
                self.assertEqual(others(back), others(FOLDERS / case))
                self.assertFalse(list(self.folder.glob("*.partial")))

    def test_files_are_carried_along(self):
        folder = self.copy("llama2", "carried")
        (folder / "README.md").write_bytes(b"\xff\x00 a model\n")
        (folder / "empty.txt").write_bytes(b"")
        (folder / "pytorch_model.bin").write_bytes(b"not carried")
        (folder / "original").mkdir()
        model, back = self.folder / "carried.h5", self.folder / "carried-back"
        log = self.done(["import", folder, model], 2)
        self.assertIn("original/ stays behind", log)
        self.done(["export", model, back])
        names = ["README.md", "config.json", "empty.txt", "generation_config.json", "tokenizer.model"]
        self.assertEqual(sorted(others(back)), names)
        for name in names:
            self.assertEqual((back / name).read_bytes(), (folder / name).read_bytes())
        with h5py.File(model, "r") as file:
            self.assertEqual(file["huggingface/files/README.md"][()].tobytes(), b"\xff\x00 a model\n")
            self.assertIn(b"F16 model.norm.weight\n", file["huggingface/dtypes"][()].tobytes())

    def test_another_type(self):
        model = self.folder / "typed.h5"
        self.done(["import", FOLDERS / "llama2", model])
        given = tensors(FOLDERS / "llama2")[0]
        for option, dtype in (("f32", "F32"), ("bf16", "BF16")):
            back = self.folder / f"typed-{option}"
            self.done(["export", model, back, "--dtype", option], 2)
            self.assertIn("bfloat16" if option == "bf16" else "float32", (back / "config.json").read_text())
            for name, (kind, shape, data) in tensors(back)[0].items():
                self.assertEqual((kind, shape), (dtype, given[name][1]))
                value = numpy.frombuffer(given[name][2], "<f2").astype("<f4")
                bits = value.view("<u4")
                expected = value if option == "f32" else ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype("<u2")
                self.assertEqual(data, expected.tobytes(), name)

    def test_greedy_tokens(self):
        """Those of transformers, straight from the folder; its parts over ranks too."""
        for case in CASES:
            expected = read(FOLDERS / f"{case}.bin")
            prompt, answer = expected["prompt"].tolist(), expected["greedy"].tolist()
            prompts, drafts = self.folder / "prompts.h5", self.folder / "drafts.h5"
            self.write_ids(prompts, [*prompt, 2], [0, len(prompt) + 1], [len(prompt)])
            for ranks in (1, 2) if case in ("llama2", "gpt_neox") else (1,):
                with self.subTest(case=case, ranks=ranks):
                    self.done(["generate", FOLDERS / case, "--data", prompts, "--output", drafts, "--set",
                               "generate.temperature=0", "--set", f"generate.max_new_tokens={len(answer)}", "--set",
                               f"grid.tensor={ranks}"], ranks)
                    with h5py.File(drafts, "r") as file:
                        self.assertEqual(file["tokens"][()].tolist(), answer)

    def test_answers_to_text(self):
        """The same from the folder and from its model file."""
        model = self.folder / "text.h5"
        self.done(["import", FOLDERS / "llama2", model])
        words = ["--prompt", "the smaller model", "--turns", "1", "--set", "weave.rac.template=' then'", "--set",
                 "generate.max_new_tokens=8"]
        answers = [program(["generate", source, *words]) for source in (FOLDERS / "llama2", model)]
        self.assertEqual(answers[0][0], 0, answers[0][2])
        self.assertIn("--- correction 1", answers[0][1])
        self.assertEqual(answers[0][1], answers[1][1])
        self.refuse(["generate", FOLDERS / "llama3", "--prompt", "text"], 65, "cannot be encoded")

    def test_refused(self):
        folder, model = self.copy("llama3", "bad"), self.folder / "bad.h5"
        shard = sorted(folder.glob("*.safetensors"))[1]
        data = shard.read_bytes()
        config = json.loads((folder / "config.json").read_text())

        def refused(code, *words, ranks=1):
            self.refuse(["import", folder, model], code, *words, ranks=ranks)
            self.assertFalse(list(self.folder.glob("bad.h5*")))

        shard.unlink()
        refused(66, shard.name, "is not there", ranks=2)
        shard.write_bytes(data[:-2])
        refused(65, shard.name, "cut off")
        shard.write_bytes(data.replace(b'"BF16"', b'"BF17"', 1))
        refused(65, shard.name, "BF17")
        shard.write_bytes(data[:-2] + b"\x80\x7f")
        refused(65, shard.name, "inf", ranks=2)
        shard.write_bytes(data)
        for change, words in (({"hidden_size": 28}, ["shape"]), ({"num_hidden_layers": 3}, ["no tensor", "layers.2."]),
                              ({"num_hidden_layers": 10**7}, ["num_hidden_layers"]),
                              ({"num_hidden_layers": 1}, ["layers.1.", "nothing that a llama"]),
                              ({"new_attention": 2}, ["new_attention"]), ({"eos_token_id": None}, ["--end-of-answer"])):
            (folder / "config.json").write_text(json.dumps(config | change))
            refused(65, *words)
        (folder / "config.json").write_text(json.dumps({key: config[key] for key in config if key != "hidden_size"}))
        refused(65, "hidden_size", "missing")
        self.refuse(["import", self.folder / "nowhere", model], 66, "nowhere")
        (folder / "config.json").write_text(json.dumps(config | {"new_attention": 2, "eos_token_id": None}))
        self.done(["import", folder, model, "--ignore", "new_attention", "--end-of-answer", "5"])
        taken = self.folder / "taken"
        taken.mkdir()
        (taken / "file").write_text("mine")
        self.refuse(["export", model, taken], 74, "not an empty folder", ranks=2)
        self.refuse(["export", model, taken / "file" / "inside"], 74, "file")
        self.refuse(["export", model, self.folder / "new", "--dtype", "f64"], 64, "f64")
        self.refuse(["export", self.folder / "train.h5", self.folder / "new"], 65, "train.h5")
        self.assertFalse(list(self.folder.glob("new*")))
        self.assertEqual([path.name for path in taken.iterdir()], ["file"])

    def test_fine_tuned(self):
        """A run from a folder, resumed without it: all its checkpoints go back into a folder like it."""
        folder = self.copy("llama2", "base")
        for name in ("train", "heldout"):
            with h5py.File(self.folder / f"{name}.h5", "r") as file:
                tokens = file["tokens"][()]
                self.write_ids(self.folder / f"small-{name}.h5", numpy.where(tokens == 256, 2, tokens % 90 + 3),
                               file["offsets"][()], file["prompt_length"][()])
        head, _, rest = self.deck.read_text().partition("[model]")
        deck = self.folder / "from.toml"
        deck.write_text(head + rest[rest.index("[data]"):].replace('"train.h5"', '"small-train.h5"')
                        .replace('"heldout.h5"', '"small-heldout.h5"').replace('"!"', '""'))
        for rounds, ranks in ((1, 2), (2, 1)):
            self.done(["run", deck, "--out", self.folder / "tuned", "--set", f"model.from='{folder}'", "--set",
                       f"run.rounds={rounds}", "--set", "train.steps_per_round=2", "--set", "evaluate.examples=1"], ranks)
        given = tensors(FOLDERS / "llama2")[0]
        checkpoints = self.checkpoints("tuned")
        self.assertGreaterEqual(len(checkpoints), 2)
        for checkpoint in checkpoints:
            back = self.folder / checkpoint.stem
            self.done(["export", checkpoint, back], 2)
            self.assertEqual(others(back), others(FOLDERS / "llama2"))
            trained = tensors(back)[0]
            self.assertEqual({name: entry[:2] for name, entry in trained.items()},
                             {name: entry[:2] for name, entry in given.items()})
            self.assertEqual(trained == given, checkpoint.stem == "step-00000000")

    def test_own_model_as_folder(self):
        """A model that came from no folder gets a config.json that reads back as itself."""
        self.run_job("own", settings=["run.rounds=1", "weave.method='none'", "train.steps_per_round=1"])
        checkpoint = self.checkpoints("own")[-1]
        folder, again = self.folder / "own-folder", self.folder / "own.h5"
        self.done(["export", checkpoint, folder])
        self.assertEqual(json.loads((folder / "config.json").read_text())["model_type"], "llama")
        self.done(["import", folder, again])
        with h5py.File(checkpoint, "r") as first, h5py.File(again, "r") as second:
            self.assertEqual(first.attrs["model"], second.attrs["model"])
            self.assertEqual(sorted(first["parameters"]), sorted(second["parameters"]))
            for name in first["parameters"]:
                self.assertTrue(numpy.array_equal(first["parameters"][name][()], second["parameters"][name][()]), name)


class Live(Folders):
    """With the library itself, where it is installed (SELVAGE_PYTHON_PACKAGES may name a Python that has it)."""

    def test_transformers_reads_what_was_exported(self):
        python = interpreter_with("torch", "transformers")
        if python is None:
            self.skipTest("no Python with torch and transformers here; SELVAGE_PYTHON_PACKAGES may name one")
        script = FOLDERS.parent / "huggingface_same.py"
        pairs = []
        for case in CASES:
            back = self.folder / f"live-{case}"
            self.done(["import", FOLDERS / case, self.folder / "live.h5"], 2)
            self.done(["export", self.folder / "live.h5", back], 2)
            pairs += [FOLDERS / case, back]
        result = subprocess.run([python, script, *pairs], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)


class Readme(unittest.TestCase):
    def test_the_page_runs_as_written(self):
        root = FOLDERS.parents[2]
        page = (root / "README.md").read_text(encoding="utf-8").partition("\n## Fine-tune your model\n")[2].partition("\n## ")[0]
        lines = [line[4:] for line in page.splitlines() if line.startswith("    ")]
        self.assertIn("selvage export", "".join(lines))
        python = interpreter_with("torch", "transformers")
        with tempfile.TemporaryDirectory(prefix="selvage-page-") as name:
            folder = pathlib.Path(name)
            (folder / "inputs").symlink_to(root / "inputs")
            (folder / "build" / "cpu").mkdir(parents=True)
            (folder / "build" / "cpu" / "selvage").symlink_to(SELVAGE)
            for line in lines:
                needs_library = "transformers" in line
                if needs_library and python is None:
                    continue
                line = line.replace("python3", python if needs_library else sys.executable)
                result = subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, timeout=200)
                self.assertEqual(result.returncode, 0, f"{line}\n{result.stdout}\n{result.stderr}")
            self.assertEqual(others(folder / "out" / "tuned-model"), others(folder / "out" / "tiny"))


if __name__ == "__main__":
    unittest.main()
