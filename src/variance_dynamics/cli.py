"""The command `variance-dynamics`. A subcommand imports what it needs when it runs: --help is quick."""

import argparse
import importlib.metadata
import io
import math
import os
import sys
from typing import Any, NoReturn

from variance_dynamics.base.errors import BadInput, one_line, with_a_line

USUAL_STD, USUAL_LR = 10.0, 0.1
"""The largest that anyone uses for weights, and with AdamW."""
LARGEST = 1e100
"""Squares of larger ones are near the end of what a float64 can hold."""


class Parser(argparse.ArgumentParser):
    """Reports a wrong option as BadInput, which is shown as one line."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{self.prog}: {message} (see {self.prog} --help)")


@one_line
def main(arguments: list[str] | None = None) -> None:
    """Exits with 0 if all is well, 1 if the audit raises an alarm, 2 for input that cannot be judged."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack a character of a name
    try:
        code = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as problem:
        line = with_a_line(problem, " ".join(arguments))
        if line is problem:
            raise
        raise line from problem
    sys.exit(code)


def _parser() -> Parser:
    parser = Parser("variance-dynamics", description="The std of a model's weights: check it at init, "
                                                     "measure it in checkpoints, predict it in training.")
    parser.add_argument("--version", action="version", version=f"variance-dynamics {_version()}")
    commands = parser.add_subparsers(required=True, metavar="{audit,series,forecast}")
    _audit_options(commands.add_parser("audit", help="compare initial weights with an init recipe"))
    _series_options(commands.add_parser("series", help="measure a run's checkpoints and look for faults"))
    _forecast_options(commands.add_parser("forecast", help="predict the std of a weight matrix in training"))
    return parser


def _version() -> str:
    """Of the package that is installed; a checkout that is not installed has none."""
    try:
        return importlib.metadata.version("variance-dynamics")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _check(name: str, value: float | None, usual: float) -> None:
    """Warn of an option's value that is larger than any in use. Raises BadInput for one without a square."""
    if value is not None and value > LARGEST:
        raise BadInput(f"{name} is {value:g}: expected a number up to {LARGEST:g}")
    if value is not None and usual < value < math.inf:
        print(f"warning: {name} is {value:g}: {usual:g} and less are usual", file=sys.stderr)


def _audit_options(parser: argparse.ArgumentParser) -> None:
    from variance_dynamics.recipes.built_in import BUILT_IN

    parser.description = ("Compare each parameter of a checkpoint at step 0 with an init recipe. Exit code: "
                          "0 if all is as expected, 1 if something is off, 2 if a matrix cannot be judged or "
                          "the input cannot be read.")
    add = parser.add_argument
    add("checkpoint", help="a .safetensors file or its index, .pt, .npz, or a folder of Hugging Face, "
                           "DeepSpeed or torch.distributed; FILE:KEY reads one of several sets of weights")
    add("--recipe", default="auto",
        help="the init recipe: a .yaml file of your own, a name, or auto, the default. auto takes the recipe "
             f"of the config's model_type, else the one that fits best. Names: {', '.join(BUILT_IN)}")
    add("--std", type=float,
        help="std of the recipe (default: the config's initializer_range, else the recipe's own)")
    add("--against", metavar="OTHER",
        help="compare with this other model, instead of a recipe: do both have the same init?")
    add("--trained", action="store_true", help="for a trained model: measure, but judge nothing")
    add("--role", action="append", default=[], metavar="PATTERN=ROLE",
        help="give a role to all parameters whose name matches a regular expression; may be repeated")
    add("--heads", type=int,
        help="number of attention heads; needed if q, k, v are fused per head and there is no config")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--csv", action="store_true", help="print CSV, one line for each matrix")
    parser.set_defaults(run=_audit)


def _audit(options: argparse.Namespace) -> int:
    from variance_dynamics.auditing import report
    from variance_dynamics.auditing.audit import audit

    _check("std", options.std, USUAL_STD)
    if options.against:
        return _against(options)
    if options.trained and (options.recipe != "auto" or options.std is not None):
        raise BadInput("--trained judges nothing: expected it without --recipe and --std")
    audited = audit(options.checkpoint, options.recipe, options.std, options.trained,
                    dict(_pattern(text) for text in options.role), options.heads)
    write = report.to_json if options.json else report.to_csv if options.csv else report.to_text
    print(write(audited).rstrip("\n"))
    return audited.exit_code


def _against(options: argparse.Namespace) -> int:
    from variance_dynamics.auditing.against import compare

    if options.recipe != "auto" or options.std is not None or options.trained:
        raise BadInput("--against compares two models: expected it without --recipe, --std and --trained")
    compared = compare(options.checkpoint, options.against, dict(_pattern(text) for text in options.role),
                       options.heads)
    text = compared.to_json() if options.json else compared.to_csv() if options.csv else str(compared)
    print(text.rstrip("\n"))
    return compared.exit_code


def _pattern(text: str) -> tuple[str, str]:
    pattern, equals, role = text.rpartition("=")
    if not (pattern and equals and role):
        raise BadInput(f"role is {text!r}: expected PATTERN=ROLE, such as 'experts.*down=mlp_out'")
    return pattern, role


def _series_options(parser: argparse.ArgumentParser) -> None:
    from variance_dynamics.base.schedules import SCHEDULES

    parser.description = ("Measure every matrix in the checkpoints of a run, and look for faults. Exit code: "
                          "0 if no fault is found, 1 if a checkpoint has a fault, 2 if the input cannot be "
                          "read.")
    add = parser.add_argument
    add("source", help="a folder of checkpoints, or OWNER/NAME: a repository of the Hugging Face hub")
    add("--steps", nargs="+", default=[], metavar="STEP",
        help="read only these steps; NAME=STEP gives the step of a file or folder that has none in its name")
    add("--revisions", default="step*", metavar="PATTERN",
        help="branches and tags of the repository to read (default 'step*')")
    add("--roles", nargs="+", default=[], metavar="ROLE", help="read only the matrices of these roles")
    add("--role", action="append", default=[], metavar="PATTERN=ROLE",
        help="give a role to all parameters whose name matches a regular expression; may be repeated")
    add("--heads", type=int,
        help="number of attention heads; needed if q, k, v are fused per head and there is no config")
    add("--table", metavar="FILE",
        help="write the measurements to this .parquet or .jsonl file; the same command resumes a stopped one")
    add("--check", action="store_true", help="only look for faults; reads samples of the tensors")
    add("--recipe", default="auto", help="init recipe that step 0 is compared with (default auto)")
    add("--std", type=float, help="std of that recipe, as for audit")
    add("--lr", type=float, help="peak learning rate (default: from run.json or trainer_state.json)")
    add("--schedule", help=f"schedule of the learning rate: {', '.join(SCHEDULES)} (default cosine)")
    add("--warmup", type=int, help="number of updates of linear warmup (default 0)")
    add("--weight-decay", type=float, help="decoupled weight decay, as in AdamW (default .1)")
    add("--min-lr-ratio", type=float, help="last learning rate divided by the peak (default .1)")
    add("--updates", type=int, help="number of updates of the schedule (default: the last step)")
    add("--png", metavar="FILE", help="save a picture (needs matplotlib: the extra png)")
    add("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_series)


def _series(options: argparse.Namespace) -> int:
    from variance_dynamics.checkpoint_series import report
    from variance_dynamics.checkpoint_series.series import series

    plan = _schedule(options) | ({"steps": options.updates} if options.updates is not None else {})
    made = series(options.source, roles=options.roles, steps=options.steps, revisions=options.revisions,
                  path=options.table, check=options.check, recipe=options.recipe, std=options.std,
                  patterns=dict(_pattern(text) for text in options.role), heads=options.heads, schedule=plan)
    if options.png:
        report.save_png(options.png, made)
    print((report.to_json if options.json else report.to_text)(made))
    return made.exit_code


def _forecast_options(parser: argparse.ArgumentParser) -> None:
    from variance_dynamics.base.schedules import SCHEDULES
    from variance_dynamics.forecasting.forecast import DECAY_SCHEDULES
    from variance_dynamics.theory.laws import ADJUSTMENTS, LAWS

    parser.description = ("Predict the std of a weight matrix in training by the null law: the std if "
                          "gradients were white noise. For AdamW no parameter is fitted.")
    add = parser.add_argument
    add("--std", type=float, help="initial std (default with --from: the median over its matrices)")
    add("--lr", type=float, help="peak learning rate")
    add("--steps", type=_whole, help="number of updates")
    add("--schedule", help=f"schedule of the learning rate: {', '.join(SCHEDULES)} (default cosine)")
    add("--warmup", type=_whole, help="number of updates of linear warmup (default 0)")
    add("--weight-decay", type=float, help="decoupled weight decay, as in AdamW (default .1)")
    add("--weight-decay-schedule",
        help=f"{' or '.join(DECAY_SCHEDULES)} (in proportion to the lr); default constant")
    add("--min-lr-ratio", type=float, help="last learning rate divided by the peak (default .1)")
    add("--schedule-file", metavar="FILE.csv",
        help="a table with the columns step, lr and weight_decay; replaces the schedule options above")
    add("--optimizer", action="append", default=[], metavar="NAME",
        help=f"{', '.join(LAWS)} (default adamw); ROLE=NAME for the matrices of a role; may be repeated")
    add("--shape", metavar="ROWSxCOLUMNS",
        help="shape of the matrix; needed for Muon, unless a Tracker's table (--from) has it")
    add("--adjust-lr", default="original", choices=list(ADJUSTMENTS),
        help="how Muon adjusts its lr to the shape")
    add("--from", dest="recorded", metavar="RUN.parquet",
        help="compare with a recorded run (.parquet or .jsonl). Without --lr, each matrix has the lr and "
             "weight decay of the Tracker's table; what is still missing comes from run.json beside it")
    add("--png", metavar="FILE", help="save a picture (needs matplotlib: the extra png)")
    add("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_forecast)


def _forecast(options: argparse.Namespace) -> int:
    from variance_dynamics.forecasting import report
    from variance_dynamics.forecasting.recorded import forecast_of
    from variance_dynamics.forecasting.settings import optimizers_of

    _check("std", options.std, USUAL_STD)
    _check("lr", options.lr, USUAL_LR)
    optimizers = optimizers_of(options.optimizer, options.shape, options.adjust_lr)
    plan = _schedule(options) | ({"steps": options.steps} if options.steps is not None else {})
    forecast, compared = forecast_of(options.recorded, options.std, plan, optimizers, options.schedule_file)
    if options.png:
        report.save_png(options.png, forecast, compared)
    print((report.to_json if options.json else report.to_text)(forecast, compared))
    return compared.exit_code if compared else 0


def _whole(text: str) -> int:
    """A whole number, which may be written as 1e6."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value.is_integer():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number")
    return int(value)


def _schedule(options: argparse.Namespace) -> dict[str, Any]:
    """The options of the schedule that were given."""
    names = ("lr", "schedule", "warmup", "weight_decay", "min_lr_ratio", "weight_decay_schedule")
    return {name: value for name in names if (value := getattr(options, name, None)) is not None}


if __name__ == "__main__":
    main()
