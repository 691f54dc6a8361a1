#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run the tests of the Python client against the package in BUILD/python, as tests/run wants it:
a line `ok NAME` or `FAIL NAME: why` each, then `N passed, N failed`."""
import argparse
import os
import sys
import traceback
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


class Result(unittest.TestResult):
    passed = 0

    @staticmethod
    def name(test):
        return test.id().split(".", 1)[1] if test.id().startswith("test_") else test.id()

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1
        print("ok %s" % self.name(test), flush=True)

    def _fail(self, test, err):
        traceback.print_exception(*err, file=sys.stdout)
        text = str(err[1]).replace("\n", " ")[:300]
        print("FAIL %s: %s" % (self.name(test), text or err[0].__name__), flush=True)

    def addError(self, test, err):
        super().addError(test, err)
        self._fail(test, err)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._fail(test, err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        print("skip %s: %s" % (self.name(test), reason), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, help="build directory")
    parser.add_argument("--only", default="", help="part of the names of the tests to run")
    args = parser.parse_args()
    sys.path[:0] = [os.path.join(os.path.abspath(args.bin), "python"), HERE]
    loader = unittest.TestLoader()
    if args.only:
        loader.testNamePatterns = ["*%s*" % args.only]
    result = Result()
    loader.discover(HERE, "test_*.py").run(result)
    failed = len(result.failures) + len(result.errors)
    print("%d passed, %d failed" % (result.passed, failed))
    return 1 if failed or not result.passed else 0


sys.exit(main())
