"""The lines that a training prints, and the seconds that it keeps."""

import json

import pytest

from keras_ltssl.command import training_progress
from keras_ltssl.command.run_folder import RunFolder


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(
        training_progress.time, "monotonic", lambda: now[0], raising=True
    )
    return now


def lines_of(clock, folder, step, epochs, capsys):
    """Returns what a training prints whose steps take so many seconds."""
    progress = training_progress.TrainingProgress(
        RunFolder(folder), {"seconds": 100.0}, num_batches=10
    )
    progress.set_params({"epochs": epochs})
    for epoch in range(epochs):
        progress.on_epoch_begin(epoch)
        for batch in range(10):
            clock[0] += step
            progress.on_train_batch_end(batch)
        progress.on_epoch_end(epoch, {"loss": 2.5})
    return capsys.readouterr().out.splitlines()


def test_a_line_tells_the_time_left(clock, tmp_path, capsys):
    lines = lines_of(clock, tmp_path, 6.0, 3, capsys)
    assert lines[0] == "Training: epoch 1 of 3, 3 min left"
    assert "Training: epoch 1 of 3, loss 2.500, 2 min left" in lines
    assert lines[-1] == "Training: epoch 3 of 3, loss 2.500"


def test_a_long_run_prints_a_line_a_minute_at_most(clock, tmp_path, capsys):
    lines = lines_of(clock, tmp_path, 5.0, 720, capsys)  # Ten hours.
    assert 600 <= len(lines) < 700


def test_a_short_run_prints_its_ends(clock, tmp_path, capsys):
    assert len(lines_of(clock, tmp_path, 0.001, 50, capsys)) == 2


def test_seconds_of_earlier_processes_count(clock, tmp_path, capsys):
    lines_of(clock, tmp_path, 1.0, 2, capsys)
    assert json.loads((tmp_path / "run.json").read_text()) == {"seconds": 120.0}
