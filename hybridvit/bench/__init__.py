"""What hybridvit costs on this machine: layers and models against timm's and against each other, memory, imports.

Every time is a median over paired runs, interleaved in one process (A B B A ..., after a warm-up); a ratio is
the median of the ratios of the pairs.
"""

from hybridvit.bench.run import run_bench
from hybridvit.bench.sizes import Sizes
from hybridvit.bench.table import format_row, format_table
