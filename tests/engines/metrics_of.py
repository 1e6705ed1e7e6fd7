"""JSON statistics in, what Prometheus' own parser reads of our text out. Run as a script by the system's Python."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from prometheus_client.parser import text_string_to_metric_families

from lab.engines import metrics

families = list(text_string_to_metric_families(metrics.render(json.load(sys.stdin)).decode()))
samples = [[sample.name, sample.labels, sample.value] for family in families for sample in family.samples]
json.dump({"families": {f.name: [f.type, f.documentation] for f in families}, "samples": samples}, sys.stdout)
