"""Unit tests of measure.py: `python3 benches/peers/test_measure.py`. They run no peer."""

import sys
import tempfile
import unittest
from pathlib import Path

import measure
from measure import Run

HEAD = "windowStart,applicationName,contact,responseCount\n"


class Case(unittest.TestCase):
    def written(self, text: str) -> Path:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = Path(directory.name) / "rows.csv"
        path.write_text(text, encoding="utf-8")
        return path


class Comparison(Case):
    def test_our_rows_are_summed_over_statuses_and_sorted(self):
        path = self.written("rowId,windowStart,windowEnd,revision,applicationName,contact,response,responseCount,bytes\n"
                       "3,B,,0,X,x@,200,4,9\n1,A,,0,Y,y@,200,1,9\n2,A,,0,Y,y@,404,2,9\n4,A,,0,Z,,,0,0\n")
        self.assertEqual(measure.rows_of_logtally(path), [("A", "Y", "y@", 3), ("B", "X", "x@", 4)])

    def test_quotes_do_not_matter_and_the_header_does(self):
        path = self.written(HEAD + 'A,Unknown,"",7\n"A",X,x@,1\n')
        self.assertEqual(measure.rows_of_peer(path), [("A", "Unknown", "", 7), ("A", "X", "x@", 1)])
        with self.assertRaises(SystemExit):
            measure.rows_of_peer(self.written("start,count\n"))

    def test_the_first_rows_that_differ_are_shown(self):
        ours = [("A", "X", "", number) for number in range(50)]
        self.assertEqual(measure.differences(ours, list(ours)), [])
        theirs = [*ours[:3], ("A", "X", "", 99), *ours[4:]]
        self.assertEqual(measure.differences(ours, theirs), ["row 4: ('A', 'X', '', 3) (ours), ('A', 'X', '', 99)"])
        self.assertEqual(measure.differences(ours, ours[:-1]), ["row 50: ('A', 'X', '', 49) (ours), nothing"])
        self.assertEqual(len(measure.differences(ours, list(reversed(ours)))), measure.SHOWN)


class Ratios(unittest.TestCase):
    def test_each_run_is_held_against_ours_beside_it(self):
        pairs = [(Run(4.0, 0), Run(2.0, 0)), (Run(9.0, 0), Run(3.0, 0)), (Run(50.0, 0), Run(5.0, 0))]
        self.assertEqual(measure.ratio(pairs), 3.0)

    def test_a_summary_is_of_medians_and_of_the_largest_memory(self):
        pairs = [(Run(4.0, 10), Run(2.0, 0)), (Run(2.0, 30), Run(2.0, 0)), (Run(8.0, 20), Run(2.0, 0))]
        found = measure.summary(1000, pairs, [Run(0.5, 0)])
        self.assertEqual((found["lines_per_second"], found["times_ours"], found["times_floor"], found["memory_bytes"]),
                         (250, 2.0, 8.0, 30))

    def test_the_table_has_a_row_for_each_program(self):
        result = measure.summary(3_000_000, [(Run(2.0, 90_000_000), Run(1.0, 0))], [])
        text = measure.table({"peer": {"note": "a note", 1: result}}, [1], 20_000_000)
        self.assertEqual(text.splitlines()[2], "| peer | 1.50 M | 2.00 |  | 90 MB | a note |")
        self.assertEqual(measure.memory(20_500_000, 20_000_000), "≤ 20 MB")


class Running(Case):
    def test_a_run_is_pinned_weighed_and_written(self):
        out = self.written("")
        program = "import os; x = b'x' * 300_000_000; print(len(os.sched_getaffinity(0)))"
        run = measure.run([sys.executable, "-c", program], 1, out, out.parent)
        self.assertEqual(out.read_text(encoding="utf-8"), "1\n")
        self.assertGreater(run.memory, 300_000_000)
        self.assertGreater(run.seconds, 0)

    def test_a_program_that_fails_says_why(self):
        with self.assertRaisesRegex(SystemExit, "(?s)failed with 3:.*because"):
            measure.run(["sh", "-c", "echo because >&2; exit 3"], 1, self.written(""), Path("/"))


if __name__ == "__main__":
    unittest.main()
