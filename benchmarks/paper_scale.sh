#!/bin/sh
# E3 at the paper's size: preset gpt2 (124M) on one GPU, several arms and seeds, in pieces that can be resumed.
#
#   benchmarks/paper_scale.sh SECONDS STEPS PACK.tar [--runs "gpt2-0 std_005-0 ..."]
#
# Call it again and again: each call works for at most SECONDS, goes on where the last one stopped, and leaves the
# tables of all finished runs in PACK.tar (under 16 MiB; unpack it in data/recorded). At 2200 steps of 32,768 tokens
# a run, the seven default runs need about 25 minutes of an H100, in three pieces of 540 seconds.
#
# data/corpus must hold GPT-2's tokens. With the novels of a text file and GPT-2's BPE files:
#   dvc repro corpus -S corpus.source=files -S 'corpus.files=[data/raw/text/*]' -S corpus.tokenizer.kind=gpt2
# A dry run on a CPU with a tiny model: benchmarks/paper_scale.sh 20 40 /tmp/pack.tar --tiny
set -eu
cd "$(dirname "$0")/.."
export PYTHONPATH="src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export TORCHINDUCTOR_CACHE_DIR="${TORCHINDUCTOR_CACHE_DIR:-$PWD/benchmarks/.paper_scale/inductor}"
exec "${PYTHON:-python3}" benchmarks/paper_scale.py "$@"
