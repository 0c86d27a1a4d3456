"""What results say of the machine they were made on."""

import json

import torch

from fastreg import __version__, machine


def test_the_description_is_plain_json_and_names_the_versions():
    about = machine.describe("cpu")
    assert json.loads(json.dumps(about)) == about
    assert (about["torch"], about["fastreg"], about["threads"]) == (
        torch.__version__,
        __version__,
        torch.get_num_threads(),
    )
    assert about["cpu"]


def test_the_processor_is_read_as_linux_says_it(monkeypatch):
    lines = [
        "processor\t: 0",
        "model name\t: Nobody's 9000",
        "cpu family\t: 25",
        "model\t\t: 17",
        "flags\t\t: fpu avx512_bf16",
    ]
    monkeypatch.setattr(machine, "_cpu_facts", lambda: lines)
    assert machine.cpu_name() == "Nobody's 9000 (family 25, model 17)"
    assert machine.bfloat16_instructions() == ["avx512_bf16"]
    monkeypatch.setattr(machine, "_cpu_facts", list)
    assert machine.cpu_name()
    assert machine.bfloat16_instructions() == []
