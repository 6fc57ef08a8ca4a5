// Package connect makes a Bus from the environment: it reads the settings, opens Postgres or Kafka, and
// closes once what it opened. It is the only part of publishing that links both.
//
//	connection, err := connect.FromEnv(ctx)
//	if err != nil { … }
//	defer connection.Close()
//	connection.Bus.PublishDomain(ctx, event)
//
// # Which way events go
//
//	USE_OUTBOX_PATTERN   DATABASE_URL   events go
//	true or unset        set            through the outbox of that database
//	true                 unset          nowhere: it is an error, with both ways out
//	unset                unset          directly to Kafka, and one log line says so
//	false                any            directly to Kafka
//
// The variables and their defaults are the tags of [Config]. A variable that is set to nothing counts as
// unset, but for EVENT_TOPIC_PREFIX, where it means no prefix. A value that is not understood is an
// error that names the variable, never a default.
package connect
