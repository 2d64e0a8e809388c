"""Infrared temporal action detection: train, export, verify, benchmark, run.

>>> from infdet_deploy import Detector
>>> with Detector("NAME.infdet") as detector:
...     for action in detector.detect("night.mp4"):
...         print(action.label, action.start_s, action.end_s, action.score)

The names in `__all__` are the public API. Each is imported when it is first used: `import infdet_deploy` is quick, and
a device that only runs bundles needs no torch.
"""

from typing import TYPE_CHECKING

__version__ = "0.2.0.dev0"

# Module → its public names. Type checkers and editors read the same list below.
_PUBLIC = {
    "archive.detect": ("DetectOptions", "detect"),
    "archive.results": ("RecordingResult",),
    "benchmarks.bench": ("BenchOptions", "bench"),
    "benchmarks.report": ("BenchReport",),
    "bundle.loading": ("Bundle", "load_bundle", "store_thresholds"),
    "bundle.signing": ("CheckResult", "check", "sign"),
    "bundle.tolerances": ("Tolerances",),
    "datasets.annotations": ("read_annotations",),
    "datasets.checks": ("DatasetReport", "check_dataset"),
    "datasets.conversion": ("ConversionResult", "convert_dataset"),
    "datasets.folder": ("DataSet", "open_dataset"),
    "datasets.instances": ("Clip", "Instance"),
    "detections": ("Detection", "DetectionRule"),
    "errors": (
        "AnnotationError", "BackendError", "BundleError", "ConfigError", "InfdetError", "Interrupted", "ParityError",
        "TrainingError", "UsageError", "VideoError", "WeightsError",
    ),
    "evaluation.evaluate": ("evaluate",),
    "evaluation.options": ("EvaluateOptions",),
    "evaluation.result": ("DetectionMetrics", "Evaluation"),
    "exporting.export": ("ExportResult", "ExportedStage", "export"),
    "exporting.options": ("ExportOptions",),
    "live.events": ("Event",),
    "live.options": ("WatchOptions",),
    "live.sources.source": ("Frame", "Source", "SourceOptions", "open_source"),
    "live.watch": ("CameraSummary", "WatchResult", "watch"),
    "model.complexity": ("Complexity", "StageComplexity", "complexity"),
    "runtime.backends.base": ("Backend", "Capabilities", "CompiledStage", "StageSource"),
    "runtime.backends.tensorrt.build": ("BuildResult", "StageBuild", "build"),
    "runtime.backends.tensorrt.options": ("BuildOptions",),
    "runtime.detector": ("Detector",),
    "runtime.doctor": ("examine",),
    "runtime.incremental": ("StreamModel",),
    "verification.result": ("Verification",),
    "verification.stages": ("StageParity",),
    "verification.verify": ("VerifyOptions", "verify"),
    "video": ("Video", "read_video"),
    "model.foreign_weights": ("ImportReport", "import_weights"),
    "synthetic.dataset": ("SynthesizeOptions", "synthesize"),
    "training.ablation": ("AblationResult", "ablate"),
    "training.loop": ("Progress", "TrainResult"),
    "training.options": ("AblateOptions", "TrainOptions"),
    "training.plan": ("TrainingPlan",),
    "training.prepare": ("PrepareOptions", "PrepareResult", "prepare_dataset"),
    "training.train": ("plan_training", "train"),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = ["__version__", *_MODULE_OF]

if TYPE_CHECKING:
    from infdet_deploy.archive.detect import DetectOptions as DetectOptions, detect as detect
    from infdet_deploy.archive.results import RecordingResult as RecordingResult
    from infdet_deploy.benchmarks.bench import BenchOptions as BenchOptions, bench as bench
    from infdet_deploy.benchmarks.report import BenchReport as BenchReport
    from infdet_deploy.bundle.loading import (
        Bundle as Bundle,
        load_bundle as load_bundle,
        store_thresholds as store_thresholds,
    )
    from infdet_deploy.bundle.signing import CheckResult as CheckResult, check as check, sign as sign
    from infdet_deploy.bundle.tolerances import Tolerances as Tolerances
    from infdet_deploy.datasets.annotations import read_annotations as read_annotations
    from infdet_deploy.datasets.checks import DatasetReport as DatasetReport, check_dataset as check_dataset
    from infdet_deploy.datasets.conversion import (
        ConversionResult as ConversionResult,
        convert_dataset as convert_dataset,
    )
    from infdet_deploy.datasets.folder import DataSet as DataSet, open_dataset as open_dataset
    from infdet_deploy.datasets.instances import Clip as Clip, Instance as Instance
    from infdet_deploy.detections import Detection as Detection, DetectionRule as DetectionRule
    from infdet_deploy.errors import (
        AnnotationError as AnnotationError,
        BackendError as BackendError,
        BundleError as BundleError,
        ConfigError as ConfigError,
        InfdetError as InfdetError,
        Interrupted as Interrupted,
        ParityError as ParityError,
        TrainingError as TrainingError,
        UsageError as UsageError,
        VideoError as VideoError,
        WeightsError as WeightsError,
    )
    from infdet_deploy.evaluation.evaluate import evaluate as evaluate
    from infdet_deploy.evaluation.options import EvaluateOptions as EvaluateOptions
    from infdet_deploy.evaluation.result import DetectionMetrics as DetectionMetrics, Evaluation as Evaluation
    from infdet_deploy.exporting.export import (
        ExportResult as ExportResult,
        ExportedStage as ExportedStage,
        export as export,
    )
    from infdet_deploy.exporting.options import ExportOptions as ExportOptions
    from infdet_deploy.live.events import Event as Event
    from infdet_deploy.live.options import WatchOptions as WatchOptions
    from infdet_deploy.live.sources.source import (
        Frame as Frame,
        Source as Source,
        SourceOptions as SourceOptions,
        open_source as open_source,
    )
    from infdet_deploy.live.watch import CameraSummary as CameraSummary, WatchResult as WatchResult, watch as watch
    from infdet_deploy.model.complexity import (
        Complexity as Complexity,
        StageComplexity as StageComplexity,
        complexity as complexity,
    )
    from infdet_deploy.runtime.backends.base import (
        Backend as Backend,
        Capabilities as Capabilities,
        CompiledStage as CompiledStage,
        StageSource as StageSource,
    )
    from infdet_deploy.runtime.backends.tensorrt.build import (
        BuildResult as BuildResult,
        StageBuild as StageBuild,
        build as build,
    )
    from infdet_deploy.runtime.backends.tensorrt.options import BuildOptions as BuildOptions
    from infdet_deploy.runtime.detector import Detector as Detector
    from infdet_deploy.runtime.doctor import examine as examine
    from infdet_deploy.runtime.incremental import StreamModel as StreamModel
    from infdet_deploy.verification.result import Verification as Verification
    from infdet_deploy.verification.stages import StageParity as StageParity
    from infdet_deploy.verification.verify import VerifyOptions as VerifyOptions, verify as verify
    from infdet_deploy.video import Video as Video, read_video as read_video
    from infdet_deploy.model.foreign_weights import ImportReport as ImportReport, import_weights as import_weights
    from infdet_deploy.synthetic.dataset import SynthesizeOptions as SynthesizeOptions, synthesize as synthesize
    from infdet_deploy.training.ablation import AblationResult as AblationResult, ablate as ablate
    from infdet_deploy.training.loop import Progress as Progress, TrainResult as TrainResult
    from infdet_deploy.training.options import AblateOptions as AblateOptions, TrainOptions as TrainOptions
    from infdet_deploy.training.plan import TrainingPlan as TrainingPlan
    from infdet_deploy.training.prepare import (
        PrepareOptions as PrepareOptions,
        PrepareResult as PrepareResult,
        prepare_dataset as prepare_dataset,
    )
    from infdet_deploy.training.train import plan_training as plan_training, train as train
else:

    def __getattr__(name):
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'infdet_deploy' has no attribute '{name}'")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f"infdet_deploy.{_MODULE_OF[name]}"), name)
        return value

    def __dir__():
        return sorted(__all__)
