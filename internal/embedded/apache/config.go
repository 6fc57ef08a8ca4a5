package apache

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/tailrace-go/tailrace/internal/embedded/kafka"
)

// settings are a broker's, small enough for a test machine.
func (c *Cluster) settings() string {
	lines := []string{
		"process.roles=broker,controller",
		"node.id=1",
		fmt.Sprintf("controller.quorum.voters=1@127.0.0.1:%d", c.ports[controllerPort]),
		fmt.Sprintf("listeners=CLIENT://127.0.0.1:%d,INTERNAL://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d",
			c.ports[clientPort], c.ports[internalPort], c.ports[controllerPort]),
		// Clients come in through the gate and must be sent back to it.
		fmt.Sprintf("advertised.listeners=CLIENT://%s,INTERNAL://127.0.0.1:%d", c.listener.Addr(), c.ports[internalPort]),
		"inter.broker.listener.name=INTERNAL",
		"controller.listener.names=CONTROLLER",
		"log.dirs=" + filepath.Join(c.dir, "data"),
		"offsets.topic.replication.factor=1",
		"offsets.topic.num.partitions=1",
		"transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1",
		"transaction.state.log.num.partitions=1",
		"share.coordinator.state.topic.replication.factor=1",
		"share.coordinator.state.topic.min.isr=1",
		"share.coordinator.state.topic.num.partitions=1",
		// A killed node may come back once its registration has expired.
		"broker.session.timeout.ms=2000",
		"broker.heartbeat.interval.ms=500",
		"group.initial.rebalance.delay.ms=0",
		"num.network.threads=2",
		"num.io.threads=4",
		"background.threads=2",
		"file.delete.delay.ms=100",
		fmt.Sprintf("auto.create.topics.enable=%t", c.cfg.AutoCreate),
		fmt.Sprintf("num.partitions=%d", max(c.cfg.DefaultPartitions, 1)),
	}
	protocol := "PLAINTEXT"
	if len(c.cfg.Users) > 0 {
		protocol = "SASL_PLAINTEXT"
		lines = append(lines,
			"listener.name.client.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
			"listener.name.client.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required"+
				plainUsers(c.cfg.Users)+";",
			"listener.name.client.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
			"listener.name.client.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
		)
	}
	lines = append(lines, "listener.security.protocol.map=INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENT:"+protocol)
	return strings.Join(lines, "\n") + "\n"
}

func plainUsers(users []kafka.User) string {
	var list strings.Builder
	for _, user := range users {
		if user.Mechanism == "PLAIN" {
			fmt.Fprintf(&list, " user_%s=%q", user.Name, user.Password)
		}
	}
	return list.String()
}

// format prepares the data directory. It is called once a cluster.
func (c *Cluster) format() error {
	var id [16]byte
	_, _ = rand.Read(id[:])
	args := []string{
		"-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(c.libs, "*"),
		// One argument, since an id may begin with a dash.
		"kafka.tools.StorageTool", "format", "--cluster-id=" + base64.RawURLEncoding.EncodeToString(id[:]), "-c", c.path("server.properties"),
	}
	for _, user := range c.cfg.Users {
		if user.Mechanism != "PLAIN" {
			args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", user.Mechanism, user.Name, user.Password))
		}
	}
	if output, err := exec.Command(c.java, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("format Kafka's storage: %w: %s", err, tail(string(output)))
	}
	return nil
}

// jvmOptions are quick to start and small; TAILRACE_KAFKA_JVM replaces them.
func jvmOptions() []string {
	if options := os.Getenv("TAILRACE_KAFKA_JVM"); options != "" {
		return strings.Fields(options)
	}
	return []string{"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"}
}
