// Package bustest is for the tests of services built on Tailrace: a real Postgres and Kafka without
// anything to set up, faults to inject into them, and a recorder with assertions for tests that need
// neither.
package bustest
