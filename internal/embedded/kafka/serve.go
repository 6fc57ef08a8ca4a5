package kafka

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Serve does nothing, unless [StartProcess] started this program: then it is the broker and does not
// return.
func Serve() {
	config := os.Getenv(processEnv)
	if config == "" {
		return
	}
	if err := serve(config); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(config string) error {
	var cfg ProcessConfig
	if err := json.Unmarshal([]byte(config), &cfg); err != nil { //nolint:musttag // As StartProcess wrote it.
		return fmt.Errorf("kafka: %s: %w", processEnv, err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	cluster, err := Start(Config{Brokers: cfg.Brokers, DataDir: cfg.DataDir, Discard: cfg.Discard, Ports: cfg.Ports})
	if err != nil {
		return err
	}
	cluster.Gate().ProduceLatency(cfg.ProduceLatency)
	if err := json.NewEncoder(os.Stdout).Encode(cluster.Brokers()); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	<-stop
	cluster.Stop()
	return nil
}
