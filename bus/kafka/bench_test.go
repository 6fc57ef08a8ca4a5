package kafka_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

// brokerProcess makes the test binary a broker, so that benchmarks do not share a garbage collector with it.
const brokerProcess = "TAILRACE_BENCH_BROKER"

// serveBroker prints the brokers' addresses and serves until standard input ends.
func serveBroker() {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(12, "bench"), kfake.BlackholeProduce())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(strings.Join(cluster.ListenAddrs(), ","))
	_, _ = io.Copy(io.Discard, os.Stdin)
	cluster.Close()
}

func startBroker(b *testing.B) []string {
	b.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), brokerProcess+"=1")
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe()
	require.NoError(b, err)
	stdout, err := command.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, command.Start())
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = command.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(b, err)
	return strings.Split(strings.TrimSpace(line), ",")
}

// BenchmarkSend compares the sender with sarama's SyncProducer, which is given 1,000 messages at a time,
// over events of 315 bytes and 8 headers with 1,000 keys in 12 partitions, acks of all. One iteration is
// 1,000 events.
func BenchmarkSend(b *testing.B) {
	const chunk, keys = 1_000, 1_000
	value := make([]byte, 315)
	for i := range value {
		value[i] = byte('a' + i%26)
	}
	var headers []delivery.Header
	for i := range 8 {
		headers = append(headers, delivery.Header{Key: fmt.Sprintf("ce_header%d", i), Value: value[:16]})
	}
	key := func(i int) []byte { return fmt.Appendf(nil, "order-%06d", i%keys) }

	b.Run("tailrace", func(b *testing.B) {
		sender, err := kafka.NewSender(kafka.SenderConfig{Config: kafka.Config{Brokers: startBroker(b)}})
		require.NoError(b, err)
		defer func() { require.NoError(b, sender.Close()) }()
		const window = 32 // chunks under way
		free := make(chan []*delivery.Record, window)
		for range window {
			records := make([]*delivery.Record, chunk)
			for i := range records {
				records[i] = &delivery.Record{Topic: "bench", Key: key(i), Value: value, Headers: headers}
			}
			free <- records
		}
		var mu sync.Mutex
		left := map[int64]int{}
		sent := map[int64][]*delivery.Record{}
		stream := sender.Stream(delivery.StreamConfig{Report: func(records []*delivery.Record, verdict delivery.Verdict) {
			if verdict.Err != nil {
				b.Error(verdict.Err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, record := range records {
				if left[record.Ref]--; left[record.Ref] == 0 {
					free <- sent[record.Ref]
					delete(sent, record.Ref)
					delete(left, record.Ref)
				}
			}
		}})
		b.ReportAllocs()
		var n int64
		for b.Loop() {
			records := <-free
			n++
			for _, record := range records {
				record.Ref = n
			}
			mu.Lock()
			left[n], sent[n] = chunk, records
			mu.Unlock()
			stream.Send(records)
		}
		for range window {
			<-free
		}
		b.ReportMetric(float64(b.N*chunk)/b.Elapsed().Seconds(), "events/s")
		stream.Close()
	})

	b.Run("sarama.SyncProducer", func(b *testing.B) {
		config := kafka.Config{Brokers: startBroker(b)}
		settings, err := config.Sarama()
		require.NoError(b, err)
		producer, err := sarama.NewSyncProducer(config.Brokers, settings)
		require.NoError(b, err)
		defer func() { require.NoError(b, producer.Close()) }()
		var saramaHeaders []sarama.RecordHeader
		for _, header := range headers {
			saramaHeaders = append(saramaHeaders, sarama.RecordHeader{Key: []byte(header.Key), Value: header.Value})
		}
		b.ReportAllocs()
		for b.Loop() {
			messages := make([]*sarama.ProducerMessage, chunk)
			for i := range messages {
				messages[i] = &sarama.ProducerMessage{
					Topic: "bench", Key: sarama.ByteEncoder(key(i)), Value: sarama.ByteEncoder(value), Headers: saramaHeaders,
				}
			}
			if err := producer.SendMessages(messages); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N*chunk)/b.Elapsed().Seconds(), "events/s")
	})
}
