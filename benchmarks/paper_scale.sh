#!/bin/sh
# E3 at the paper's size: preset gpt2 (124M parameters) on one GPU, four arms and three seeds of the first, in pieces.
#
#   benchmarks/paper_scale.sh SECONDS STEPS [--pack FILE.tar] [--runs "gpt2-0 std_005-0 ..."]
#
# It needs English text of at least 15M of GPT-2's tokens in data/raw/text/, and GPT-2's encoder.json and vocab.bpe
# in data/raw/gpt2_bpe/. Call it again and again with the same STEPS: each call works for at most SECONDS, goes on
# where the last one stopped, and records the finished runs in data/recorded/gpt2-124m/, which `analyze.recorded`
# in params.yaml may then name.
#
# Three pieces of 500 seconds (25 minutes of the GPU) with 1500 steps, 49M tokens a run, finish all six runs if the
# GPU makes 230,000 tokens a second over all, starts, compilation and checkpoints included. That was not measured, for
# want of a GPU; what is not reached is told as missing, and a claim without a second seed has no verdict. 800 steps
# would fit 15 minutes at that rate.
#
# Where the machine is given back between pieces, --pack FILE.tar (under 16 MiB) holds the finished runs, written after
# each: unpack it at the root on the next one, where the run that was not finished begins anew, or where a call with 0
# seconds records them. How fast a step is, beside nanoGPT's: benchmarks/gpu_step.py.
# A dry run on a CPU with a tiny model: benchmarks/paper_scale.sh 60 40 --tiny --name dry-run
set -eu
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export TORCHINDUCTOR_CACHE_DIR="${TORCHINDUCTOR_CACHE_DIR:-$PWD/.full/inductor}"
unset DVC_ROOT
exec "${PYTHON:-python3}" benchmarks/paper_scale.py "$@"
