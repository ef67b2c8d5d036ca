"""The worker process: does the jobs that need models, one after the other, from the queue in the store.

It may be killed at any moment: stages write whole files, and a job that was not finished is done again.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Engine

from clickscape.catalog.corrected import correct
from clickscape.catalog.cutout_file import save
from clickscape.catalog.images import open_image
from clickscape.errors import ClickscapeError, ExperimentError, LogError, first_line
from clickscape.regular_files import inside
from clickscape.service import downloads, jobs, predictions, publishing, read_events, readings, workspace_sync
from clickscape.service.bots import counts_of, find_bots
from clickscape.service.experiments import find_experiment
from clickscape.service.jobs import Job
from clickscape.service.limits import LOG
from clickscape.service.publishing import UPLOADS
from clickscape.service.pull import Pulled
from clickscape.service.store import is_unavailable
from clickscape.service.uploads import sweep_uploads
from clickscape.stages.add_product import add_product
from clickscape.stages.draw import draw, find_product
from clickscape.stages.export import export
from clickscape.stages.generate import generate
from clickscape.stages.heat_map import heat_map
from clickscape.stages.labels import export_labels, import_labels
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.score import score
from clickscape.types import Product, Ranked
from clickscape.workspace import Workspace

_ALIVE = 10.0  # seconds between two signs of life
_IDLE = 0.5
_LOOK = 5.0  # seconds between two looks for a new reward model
_SWEEP = 3_600.0  # seconds between two looks for sent files that nobody needs
_SPARE = 4  # descriptions more than ads that were asked for: some are alike, or fail the gate
ADS = "service/ads"
"""Folder of the workspace in which `generate` keeps its records for the service."""
NO_MODEL = "not enough evidence: no reward model has learned from clicks yet"


def now() -> int:
    """Return the time in microseconds since 1970, UTC."""
    return time.time_ns() // 1_000


@dataclass
class Worker:
    """Does jobs of a store for a workspace until `stop` is set."""

    workspace: Workspace
    engine: Engine
    pull_minutes: float = 0.0

    def __post_init__(self) -> None:
        self.stop = threading.Event()
        self._pulled = time.monotonic()
        self._swept = self._looked = -math.inf
        self._model: object = None

    def run(self) -> None:
        """Do jobs as they come; while the store does not answer, wait for it."""
        while not self.stop.is_set():
            try:
                self._pull_when_due()
                self._sweep_when_due()
                self._look_when_due()
                if not self.do_next():
                    self.stop.wait(_IDLE)
            except Exception as error:
                if not is_unavailable(error):
                    raise
                LOG.warning("the store does not answer")
                self.stop.wait(2.0)

    def do_next(self) -> bool:
        """Do one job; return whether there was one."""
        job = jobs.claim(self.engine, now=now())
        if job is None:
            return False
        ended = threading.Event()
        alive = threading.Thread(target=self._tell_alive, args=(job, ended), daemon=True)
        alive.start()
        try:
            result = self._do(job)
        except ClickscapeError as error:
            self._end(job, status="failed", message=str(error))
        except Exception as error:
            if is_unavailable(error):
                raise
            LOG.error("job failed", exc_info=error, extra={"fields": {"job": job.job_id, "kind": job.kind}})
            self._end(job, status="failed", message=f"failed: {first_line(error)}. The service's log says more.")
        else:
            self._end(job, status="done", message="", result=result)
        finally:
            ended.set()
            alive.join()
        return True

    def _end(self, job: Job, **values: object) -> None:
        jobs.tell(self.engine, job.job_id, now=now(), **values)

    def _tell_alive(self, job: Job, ended: threading.Event) -> None:
        while not ended.wait(_ALIVE):
            with suppress(Exception):  # the store may be gone for a while; the job goes on
                jobs.tell(self.engine, job.job_id, now=now())

    def _pull_when_due(self) -> None:
        if self.pull_minutes and time.monotonic() - self._pulled > 60 * self.pull_minutes:
            self._pulled = time.monotonic()
            try:
                self._pull_events()
            except ClickscapeError as error:  # no reason to stop working for people
                LOG.warning("not pulled", extra={"fields": {"why": str(error)}})

    def _pull_events(self) -> Pulled:
        pulled = workspace_sync.pull(self.engine, self.workspace, now=now())
        with self.engine.connect() as connection:
            prior = read_events.of_scores(connection)
        readings.keep_prior(self.engine, prior, now=now())
        return pulled

    def _sweep_when_due(self) -> None:
        if time.monotonic() - self._swept > _SWEEP:
            sweep_uploads(self.engine, self.workspace.path)
            self._swept = time.monotonic()

    def _look_when_due(self) -> None:
        if time.monotonic() - self._looked > _LOOK:
            self._looked = time.monotonic()
            with suppress(OSError, ClickscapeError):  # it is being written: the next look finds it
                if (found := predictions.signature(self.workspace)) != self._model:
                    predictions.notice_model(self.engine, self.workspace, now=now())
                    self._model = found

    def _do(self, job: Job) -> dict[str, Any]:
        done: Mapping[str, Callable[[Job], dict[str, Any]]] = {
            "add_product": self._add_product,
            "generate": self._generate,
            "draw": self._draw,
            "score": self._score,
            "publish": lambda _: {"creatives": len(self._publish())},
            "pull": self._pull,
            "correct": self._correct,
            "read": self._read,
            "heat_map": self._heat_map,
            "export": self._export,
            "export_labels": self._export_labels,
            "import_labels": self._import_labels,
            "experiments": self._experiments,
            "predict": self._predict,
        }
        return done[job.kind](job)

    def _add_product(self, job: Job) -> dict[str, Any]:
        given = job.payload
        photo = self._upload(given["photo"])
        product = Product(
            given["product_id"], given["title"], tuple(given.get("category", ())), image=str(photo),
            price=given.get("price"), currency=given.get("currency"),
        )  # fmt: skip
        made = self._run(job, add_product(self.workspace, product))
        self._publish(made.product_id)
        publishing.note_photo(self.engine, made.product_id, photo=f"{UPLOADS}/{given['photo']}", points=None)
        return {"product_id": made.product_id}

    def _correct(self, job: Job) -> dict[str, Any]:
        """Cut a product out of the photo that was sent for it, by points that a person set."""
        given = job.payload
        product = find_product(self.workspace, given["product_id"])
        photo = publishing.photo_of(self.engine, product.product_id)
        if photo is None:
            raise ClickscapeError("the photo of this product was not kept. Add it again.")
        points = {name: given[name] for name in ("keep", "drop")}
        strokes = {name: [[(int(x), int(y))] for x, y in those] for name, those in points.items()}
        made = correct(open_image(inside(self.workspace.path, photo)), keep=strokes["keep"], drop=strokes["drop"])
        file = self._upload(f"{job.job_id}-cutout.png")
        save(made, file)
        self._run(job, add_product(self.workspace, replace(product, image=str(file), more_images=())))
        file.unlink(missing_ok=True)
        self._publish(product.product_id)
        publishing.note_photo(self.engine, product.product_id, photo=photo, points=points)
        return {"product_id": product.product_id}

    def _read(self, job: Job) -> dict[str, Any]:
        about, name = job.payload["about"], job.payload["name"]
        bots = self._bots() if about in ("product", "experiment") else []
        with self.engine.connect() as connection:
            if about == "fatigue":
                content = read_events.of_fatigue(connection)
            elif about == "product":
                share = self.workspace.settings.serve.holdback
                found = read_events.of_choosing(connection, name, holdback=share, without=bots)
                theirs = counts_of(connection, name, bots)
                content = readings.as_content(found, bots={"users": len(bots), "counts": theirs})
            elif (held := find_experiment(self.engine, name)) is not None:
                found = read_events.of_experiment(connection, held.definition, without=bots)
                content = readings.as_content(found, bots={"users": len(bots)})
            else:
                raise ExperimentError(f"no experiment is called {name!r}.")
        readings.keep(self.engine, about, name, content, now=now())
        return {}

    def _bots(self) -> list[str]:
        """Users who are no people, as they were found in the last minutes."""
        held, moment = readings.newest(self.engine, "bots"), now()
        if held is None or not 0 <= moment - held.made_at < readings.BOTS_OLD:
            with self.engine.connect() as connection:
                found = find_bots(connection, config=self.workspace.settings.clicks)
            readings.keep(self.engine, "bots", "", {"users": found}, now=moment)
            return found
        return list(held.content["users"])

    def _experiments(self, _: Job) -> dict[str, Any]:
        workspace_sync.exchange_experiments(self.engine, self.workspace, now=now())
        return {}

    def _predict(self, _: Job) -> dict[str, Any]:
        """Predict the clicks of some products' creatives by the newest model, and ask for the others."""
        names = predictions.outdated(self.engine)
        chosen, left = names[: predictions.PRODUCTS], names[predictions.PRODUCTS :]
        products = [one for one in self.workspace.products() if one.product_id in chosen]
        own = [one for one in self.workspace.creatives() if one.product_id in chosen and not one.is_simulated]
        made = predictions.predict(self.workspace, products, own)
        if made is not None:
            with self.engine.connect().execution_options(writes=True) as connection, connection.begin():
                predictions.keep(connection, made, chosen)
        if left:
            predictions.ask_anew(self.engine, now=now())
        return {"products": len(chosen), "left": len(left)}

    def _generate(self, job: Job) -> dict[str, Any]:
        product_id = job.payload["product_id"]
        keep = job.payload.get("keep") or self.workspace.settings.generate.keep
        wanted = {"keep": keep, "per_product": keep + _SPARE, "seed": job.payload.get("seed")}
        stage = generate(
            workspace=self.workspace.path, catalog=None, out=inside(self.workspace.path, ADS), only={product_id},
            overrides=wanted, keep_doubtful=True,
        )  # fmt: skip
        self._run(job, stage)
        return {"creatives": self._publish(product_id)}

    def _draw(self, job: Job) -> dict[str, Any]:
        given = job.payload
        made = self._run(
            job, draw(self.workspace, given["product_id"], [given["description"]], parent_id=given.get("parent_id"))
        )
        if not made.creatives:
            raise ClickscapeError(f"no picture passed: {made.refused[0]}")
        self._publish(given["product_id"])
        return {"creatives": [one.creative_id for one in made.creatives]}

    def _score(self, job: Job) -> dict[str, Any]:
        if not (self.workspace.models / "reward").exists():
            return {"scores": None, "reason": NO_MODEL}
        given = job.payload
        known = {one.creative_id: one for one in self.workspace.creatives() if one.product_id == given["product_id"]}
        if lost := [name for name in given["creatives"] if name not in known]:
            raise ClickscapeError(f"creative {lost[0]!r} of this product is not in the workspace.")
        drawn = [known[name] for name in given["creatives"]]
        paths = [*map(self._upload, given["images"]), *(Path(one.image) for one in drawn)]
        scenes = [*[None] * len(given["images"]), *(dict(one.scene) or None for one in drawn)]
        names = [{"image": place} for place in range(len(given["images"]))]
        return scores_of(
            [*names, *({"creative_id": name} for name in given["creatives"])],
            [one for _, one in score(self.workspace, given["product_id"], paths, scenes)],  # type: ignore[arg-type]
        )

    def _heat_map(self, job: Job) -> dict[str, Any]:
        if not (self.workspace.models / "reward").exists():
            return {"reason": NO_MODEL}
        self._run(job, heat_map(self.workspace, job.payload["creative_id"]))
        return {"reason": ""}

    def _export(self, job: Job) -> dict[str, Any]:
        """Draw an approved creative for placements, and pack what `export` leaves: pictures and their manifest."""
        creative_id = job.payload["creative_id"]
        workspace_sync.pull_decisions(self.engine, self.workspace, now=now())
        out = downloads.folder(self.workspace.path, creative_id, job.payload["group"])
        made = self._run(
            job, export(self.workspace, placements=job.payload["placements"], out=out, approved_only=True,
                        only={creative_id})
        )  # fmt: skip
        if not made.files:
            raise ClickscapeError("; ".join([*made.left_out, *made.refused]) or "there is no such creative.")
        named = [out / "manifest.json", *(out / one.file for one in made.renditions)]
        return downloads.pack(self.workspace.path, named, below=out, pictures=made.files, left_out=made.refused)

    def _export_labels(self, _: Job) -> dict[str, Any]:
        workspace_sync.pull_decisions(self.engine, self.workspace, now=now())
        out = downloads.folder(self.workspace.path, "labels", "label-studio")
        made = export_labels(self.workspace, out / "labels.json")
        return downloads.pack(
            self.workspace.path, [made.path, made.config], below=out, tasks=made.tasks, answered=made.answered
        )

    def _import_labels(self, job: Job) -> dict[str, Any]:
        file = self._upload(job.payload["file"])
        try:
            return {"answers": import_labels(self.workspace, file)}
        except LogError as error:  # the file's name here says nothing to who sent it
            raise LogError(str(error).replace(str(file), "the file")) from None
        finally:
            file.unlink(missing_ok=True)

    def _pull(self, _: Job) -> dict[str, Any]:
        pulled = self._pull_events()
        return {"events": pulled.events, "files": [path.name for path in pulled.files]}

    def _publish(self, product_id: str | None = None) -> list[str]:
        return workspace_sync.publish(self.engine, self.workspace, product_id=product_id, now=now())

    def _upload(self, name: str) -> Path:
        return inside(self.workspace.path, f"{UPLOADS}/{name}")

    def _run(self, job: Job, stage: Stage[Any]) -> Any:
        """Run a stage to its end; its progress is the job's, a few times a second."""
        told = 0.0
        while True:
            try:
                progress: Progress = next(stage)
            except StopIteration as end:
                return end.value
            if time.monotonic() - told > 0.3:
                told = time.monotonic()
                jobs.tell(
                    self.engine, job.job_id, now=now(), done=progress.done, total=progress.total,
                    message=progress.note[:200],
                )  # fmt: skip


def scores_of(names: Sequence[Mapping[str, Any]], ranking: Sequence[Ranked]) -> dict[str, Any]:
    """Return the result of scoring, best first; names: what each picture is called, in the order in which it was sent.

    A score is against the others, so an only picture has none; one whose interval has no ends says nothing.
    """
    if len(names) < 2:
        return {"scores": None, "reason": "not enough evidence: a score is against other pictures. Send two or more."}
    rows = []
    for one in ranking:
        values: dict[str, Any] = {"score": None, "low": None, "high": None, "reason": "not enough evidence"}
        if math.isfinite(one.score.low) and math.isfinite(one.score.high):
            values = {"score": one.score.value, "low": one.score.low, "high": one.score.high, "reason": ""}
        rows.append({**names[one.index], **values, "surely_ahead_of_the_next": one.ahead})
    return {"scores": rows, "reason": ""}


def main() -> None:
    """Run the worker of the workspace that the environment names, until it is told to end or its parent is gone."""
    from clickscape.service.limits import log_to_stderr
    from clickscape.service.run import from_environment

    log_to_stderr()
    workspace, engine, settings, _ = from_environment()
    worker = Worker(workspace, engine, pull_minutes=settings.serve.pull_minutes)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop.set())
    parent = os.getppid()

    def watch() -> None:
        while not worker.stop.wait(1.0):
            if os.getppid() != parent:
                worker.stop.set()

    threading.Thread(target=watch, daemon=True).start()
    worker.run()


if __name__ == "__main__":
    main()
