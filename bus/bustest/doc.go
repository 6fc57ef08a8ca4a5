// Package bustest is for the tests of services built on Tailrace: a recorder with assertions for tests
// that need no server, and a real Postgres and Kafka, with nothing to set up, for those that do.
//
// # Events
//
// A [Recorder] is a Watermill publisher for a bus.Config; [OutboxOf] shows what waits in an outbox table.
// Of either, [RequireEvent], [RequireDomain], [RequireAudit], [RequireNotification] and [RequireCustom]
// say what must have been published, [Require] and [RequireOne] in which fields, [RequireCount],
// [RequireInOrder], [RequireExactly] and [RequireNothing] how often and in which order. When it was not,
// the test fails with what was published instead, field by field. [WithFaults] makes any publisher fail.
// docs/testing.md shows it all.
//
// # Postgres
//
// [Postgres] gives a test an empty database of its own on a server its process shares. That server is,
// in this order,
//
//   - the one DATABASE_URL names, whose account must be allowed to create databases,
//   - one started from PostgreSQL's binaries, 14 or newer, on PATH, where pg_config says, or where
//     packages put them,
//   - one started from binaries that are downloaded, once, from Maven Central or from
//     TAILRACE_MAVEN_REPO.
//
// Root's server runs as the account postgres or nobody. A test that stops or kills its server starts one
// of its own with [StartPostgres].
//
// # Kafka
//
// [Kafka] gives a test a cluster without topics. By default it runs inside the test's process. With
// TAILRACE_KAFKA=apache it is Apache Kafka in KRaft mode, fetched once with Maven
// (TAILRACE_KAFKA_VERSION, TAILRACE_MAVEN_REPO and TAILRACE_KAFKA_LIBS change from where; Java 17). With
// KAFKA_BROKERS it is the cluster that names. Clients reach a cluster that bustest started through a gate
// that makes faults: see [Broker.FailProduce], [Broker.ProduceLatency], [Broker.Deny] and [Broker.Stop].
//
// # The end
//
// Servers end with the process that started them, also when it panics or is killed; nothing has to be
// called. [Main] ends them more politely.
package bustest
