"""Write the README's table of claims from metrics/claims_detail.json: `python tests/readme_claims.py`."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

if __name__ == "__main__":
    from study.analysis import ledger

    readme, detail = ROOT / "README.md", ROOT / "metrics" / "claims_detail.json"
    readme.write_text(ledger.in_readme(readme.read_text(), json.loads(detail.read_text())))
