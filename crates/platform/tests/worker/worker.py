#!/usr/bin/env python3
"""A worker for tests: speaks the protocol of `fednodule --supervised` without any neural network.

`act STEP …` does what the steps say, for tests of the supervisor. `train` and `export` take the arguments of the real ones
and leave the same files; losses are those of a formula. What is special about a run stands in `scenario.json` in the
folder of `--out`:

    {"step_ms": 20}                 how long each of five steps of a site takes
    {"crash": [2, "b"]}             is killed when site b is in the middle of round 2, once
    {"crash_always": true}          is killed in every first round
    {"drop": [2, "b"]}              site b leaves in round 2
    {"late": [1, "a"]}              site a misses the deadline of round 1
    {"unusable": "b"}               site b has no data that can be used
    {"fail": 4}                     ends with this exit code when a round begins
    {"damage": true}                the model's file is not whole
    {"ignore": true}                listens to nobody
"""

import argparse
import hashlib
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

asked = threading.Event()
wish = []


def listen():
    for line in sys.stdin:
        wish.append(line.strip())
        asked.set()
    wish.append("suspend")
    asked.set()


def tell(event, **fields):
    os.write(2, (json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n").encode())


def act(steps):
    for step in steps:
        word, _, argument = step.partition(":")
        if word == "note":
            tell("note", text=argument)
        elif word == "raw":
            os.write(2, argument.encode("utf-8", "surrogateescape"))
        elif word == "binary":
            os.write(2, bytes(range(256)) + b"\n")
        elif word == "huge":  # a line of so many MiB
            for _ in range(int(argument)):
                os.write(2, b"x" * (1 << 20))
            os.write(2, b"\n")
        elif word == "unknown":
            tell("invented_later", more=[1, 2])
        elif word == "nice":
            tell("note", text=str(os.nice(0)))
        elif word == "say":
            os.write(1, argument.encode())
        elif word == "flood":
            for _ in range(int(argument)):
                os.write(1, b"y" * (1 << 20))
        elif word == "wait":  # for a wish
            asked.wait()
            tell("note", text=wish[0])
            if wish[0] == "suspend":
                sys.exit(130)
        elif word == "deaf":
            time.sleep(600)
        elif word == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        elif word == "fail":
            tell("error", kind="output", exit_code=4, message="no space left", advice="make room")
            sys.exit(4)
        elif word == "child":  # keeps the pipes open
            subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)
        else:
            sys.exit(f"no step {step}")


class Training:
    """A session whose truth lies in `sessions/{id}/session.json`, as the real one's does."""

    def __init__(self, arguments):
        parser = argparse.ArgumentParser()
        parser.add_argument("--out", type=pathlib.Path)
        parser.add_argument("--session")
        parser.add_argument("--resume")
        parser.add_argument("--site", action="append", default=[])
        for name in ["rounds", "local-epochs", "patches-per-epoch", "batch-size", "patch-size", "seed", "min-sites", "round-deadline", "min-lung-ml"]:
            parser.add_argument(f"--{name}", type=int)
        for name in ["learning-rate", "algorithm", "network", "initial", "note", "sampling"]:
            parser.add_argument(f"--{name}")
        self.arguments = parser.parse_args(arguments)
        self.out = self.arguments.out
        self.id = self.arguments.resume or self.arguments.session
        scenario = self.out / "scenario.json"
        self.scenario = json.loads(scenario.read_text()) if scenario.exists() else {}

    @property
    def state_file(self):
        return self.out / "sessions" / self.id / "session.json"

    def save(self):
        self.state_file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.state_file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(self.state))
        unfinished.replace(self.state_file)

    def run(self):
        (self.out / "worker.pid").write_text(str(os.getpid()))
        tell("device", name="CPU", fallback=None)
        if self.arguments.resume:
            self.state = json.loads(self.state_file.read_text())
        else:
            self.create()
        for number in range(len(self.state["rounds"]) + 1, self.state["total"] + 1):
            self.round(number)
        self.finish()

    def create(self):
        given = self.arguments
        sites = [site.partition("=")[0] for site in given.site]
        for site in sites:
            for done in range(3):
                tell("preparing", site=site, done=done, total=2)
                self.step()
            if self.scenario.get("unusable") == site:
                error = {"kind": "input", "exit_code": 3, "message": f"site {site}: no readable scan", "advice": None}
                tell("site_unusable", site=site, error=error)
            else:
                tell("site_ready", site=site, scans=2, nodules=3, problems=0, unknown_series=0)
        sites = [site for site in sites if site != self.scenario.get("unusable")]
        hyperparameters = {
            "rounds": given.rounds, "local_epochs": given.local_epochs, "patches_per_epoch": given.patches_per_epoch,
            "learning_rate": float(given.learning_rate), "batch_size": given.batch_size, "patch_size": given.patch_size,
            "algorithm": given.algorithm if given.algorithm == "FedAvg" else {"FedProx": {"mu": 0.01}}, "seed": given.seed,
        }
        config = {"hyperparameters": hyperparameters, "minimum_sites": given.min_sites, "round_deadline_s": given.round_deadline}
        self.state = {"config": config, "total": given.rounds, "sites": sites, "rounds": [], "created_ms": now_ms(), "crashed": False}
        self.save()

    def step(self):
        time.sleep(self.scenario.get("step_ms", 2) / 1000)
        if self.scenario.get("ignore") or not asked.is_set():
            return
        if "cancel" in wish:
            tell("session_failed", reason="the session was cancelled")
            self.record("failed", failure="the session was cancelled")
            print(json.dumps(self.document("failed")))
            sys.stdout.flush()
            os._exit(1)
        print(json.dumps(self.document("suspended")) if hasattr(self, "state") else "{}")
        sys.stdout.flush()
        os._exit(130)

    def round(self, number):
        tell("round_started", round=number)
        secure = self.scenario.get("secure")
        if secure:
            tell("protected", protection="secure_aggregation", sealed_because=None, roster_fingerprint="0011 2233 4455 6677")
        if "fail" in self.scenario:
            code = self.scenario["fail"]
            tell("error", kind="output", exit_code=code, message="no space left on device", advice="make room")
            os._exit(code)
        begun, records = now_ms(), {}
        if self.scenario.get("crash_always"):
            os.kill(os.getpid(), signal.SIGKILL)
        for place, site in enumerate(self.state["sites"]):
            records[site] = self.train(number, place, site, begun)
        trained = {site: record for site, record in records.items() if record["status"] == "trained"}
        mean = lambda of: sum(map(of, trained.values())) / len(trained)
        sha256 = digest(f"{self.id} {number}")
        total = {
            "attempt": 0, "sid": digest(f"sum {number}"), "threshold": 3, "participants": list(trained), "survivors": [], "totals": None,
        }
        if secure:
            tell("sum_started", round=number, purpose="training", sum=total)
            for site in trained:
                tell("site_replied", site=site, round=number, message={"kind": "keys", "bytes": 131, "words_sha256": None})
                tell("site_replied", site=site, round=number, message={"kind": "masked_update", "bytes": 2000, "words_sha256": digest(f"{site} {number}")})
            total["survivors"] = list(trained)
            tell("sum_completed", round=number, purpose="training", sum=total)
        tell("aggregated", round=number, model_sha256=sha256)
        for site, record in trained.items():
            tell("site_started", site=site, round=number, task="evaluation")
            self.step()
            loss = record["update"]["metrics"]["loss"] * 1.1
            record["evaluation"] = {"num_examples": 8, "metrics": {"loss": loss, "foreground_probability": 0.5}}
            tell("site_evaluated", site=site, round=number, evaluation=record["evaluation"])
        record = {
            "round": number, "started_ms": begun, "training_ms": now_ms() - begun, "aggregation_ms": 1, "evaluation_ms": 2,
            "sites": records, "training_loss": mean(lambda record: record["update"]["metrics"]["loss"]),
            "evaluation_loss": mean(lambda record: record["evaluation"]["metrics"]["loss"]),
            "foreground_probability": 1 - math.exp(-number / 3), "model_sha256": sha256,
        }
        if secure:
            # What is a site's own does not come into the record.
            record["sum"] = total
            for site, own in trained.items():
                own.update(update=None, evaluation=None, masked={"bytes": 2000, "sha256": digest(f"{site} {number}")})
        self.state["rounds"].append(record)
        self.save()
        tell("round_completed", record=record)

    def train(self, number, place, site, begun):
        record = {"started_ms": begun, "training_ms": None, "update": None, "evaluation": None}
        tell("site_started", site=site, round=number, task="training")
        loss = (0.8 + 0.05 * place) * math.exp(-number / 4) + 0.1
        for done in range(6):
            tell("site_progress", site=site, round=number, task="training", done=done, total=5, loss=loss * (1.2 - 0.04 * done))
            self.step()
            if done == 3 and self.scenario.get("crash") == [number, site] and not self.state["crashed"]:
                self.state["crashed"] = True
                self.save()
                os.kill(os.getpid(), signal.SIGKILL)
        if self.scenario.get("drop") == [number, site]:
            tell("site_dropped", site=site, reason="the connection was lost")
            return {**record, "status": "dropped", "reason": "the connection was lost"}
        if self.scenario.get("late") == [number, site]:
            tell("site_late", site=site, round=number)
            return {**record, "status": "late"}
        metrics = {"loss": loss, "foreground_probability": 0.4}
        tell("site_trained", site=site, round=number, num_examples=100 + place, metrics=metrics)
        update = {"num_examples": 100 + place, "weight": 100 + place, "metrics": metrics, "sha256": digest(site), "magnitude": 0.5}
        return {**record, "status": "trained", "training_ms": now_ms() - begun, "update": update}

    def session(self, phase, failure=None):
        rounds = self.state["rounds"]
        record = {
            "session_id": self.id, "phase": phase, "config": self.state["config"], "created_ms": self.state["created_ms"],
            "initial_model_sha256": digest("initial"), "rounds": rounds,
            "model_sha256": rounds[-1]["model_sha256"] if rounds else digest("initial"),
        }
        if phase in ("completed", "failed"):
            record["finished_ms"] = now_ms()
        return record | ({"failure": failure} if failure else {})

    def document(self, outcome):
        phase = {"suspended": "training"}.get(outcome, outcome)
        return {"session_id": self.id, "outcome": outcome, "session": self.session(phase)}

    def record(self, phase, failure=None):
        path = self.out / "training_history.json"
        history = json.loads(path.read_text()) if path.exists() else {"schema_version": 1, "sessions": []}
        history["sessions"] = [known for known in history["sessions"] if known["session_id"] != self.id]
        history["sessions"].append(self.session(phase, failure))
        path.write_text(json.dumps(history))

    def finish(self):
        provenance = {"session": self.id, "rounds": len(self.state["rounds"]), "sites": self.state["sites"], "note": ""}
        header = json.dumps({
            "__metadata__": {"fednodule.provenance": json.dumps(provenance)},
            "w": {"dtype": "F32", "shape": [64], "data_offsets": [0, 256]},
        }).encode()
        model = len(header).to_bytes(8, "little") + header + bytes(256)
        path = self.out / "models" / f"session_{self.id}_federated_model.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(model[:-7] if self.scenario.get("damage") else model)
        self.record("completed")
        tell("session_completed", model_sha256=self.state["rounds"][-1]["model_sha256"], path=str(path))
        print(json.dumps(self.document("completed")))


def now_ms():
    return int(time.time() * 1000)


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def train(arguments):
    Training(arguments).run()


def export(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--to", type=pathlib.Path)
    given = parser.parse_args(arguments)
    given.to.write_bytes(b"PTH of " + hashlib.sha256(given.model.read_bytes()).hexdigest().encode())
    print("{}")


def predict(arguments):
    """Marks two places; `predict` in the scenario, which lies above the results, says what happens first."""
    parser = argparse.ArgumentParser()
    for name in ["model", "out"]:
        parser.add_argument(f"--{name}", type=pathlib.Path)
    for name in ["mode", "threshold"]:
        parser.add_argument(f"--{name}")
    parser.add_argument("scan", type=pathlib.Path)
    given = parser.parse_args(arguments)
    scenario = given.out.parent.parent / "scenario.json"
    does = json.loads(scenario.read_text()).get("predict", "") if scenario.exists() else ""
    tell("scan_started", number=1, total=1)
    for done in range(3):
        tell("progress", stage="inference", done=done, total=3)
    if does == "wait":
        asked.wait()
        os._exit(130)
    if does == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if does == "fail":
        tell("error", kind="input", exit_code=3, message="no lungs in it", advice="take a chest")
        os._exit(3)
    marks = [
        {"number": n, "center_mm_xyz": [n, 2, 3], "diameter_mm": 7.5, "confidence": 1 - n / 10, "voxel_zyx": [3, 2, n], "lung": lung}
        for n, lung in [(1, "left"), (2, None)]
    ]
    sha256 = "0" * 64 if does == "other" else hashlib.sha256(given.model.read_bytes()).hexdigest()
    document = {
        "detections": marks, "model_sha256": sha256, "device": "cpu", "stages_s": {"inference": 0.1}, "peak_memory_bytes": None,
        "searched": {"Lungs": {}}, "mode": given.mode, "threshold": float(given.threshold),
    }
    folder = given.out / given.scan.stem
    folder.mkdir(exist_ok=True)
    (folder / "detections.json").write_text(json.dumps(document))
    tell("scan_finished", seriesuid=given.scan.stem, detections=2)
    print("{}")


def main():
    supervised, as_json, command, *arguments = sys.argv[1:]
    assert (supervised, as_json) == ("--supervised", "--json"), sys.argv
    threading.Thread(target=listen, daemon=True).start()
    {"act": act, "train": train, "export": export, "predict": predict}[command](arguments)


main()
