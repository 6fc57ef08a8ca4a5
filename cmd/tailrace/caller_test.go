package main_test

const callerVariable = "TAILRACE_TEST_CALLER_DSN"

func callAndDie(string) {}
