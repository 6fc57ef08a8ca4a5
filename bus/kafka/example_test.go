package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

// startKafka starts a broker in this process; a service has one already.
func startKafka() (brokers []string, stop func()) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		panic(err)
	}
	return cluster.ListenAddrs(), cluster.Close
}

func Example() {
	brokers, stop := startKafka()
	defer stop()
	config := kafka.Config{Brokers: brokers}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := kafka.CreateTopics(ctx, config, kafka.Topic{
		Name: "shop.orders", TopicShape: kafka.TopicShape{Partitions: 6, ReplicationFactor: 1},
	})
	if err != nil {
		panic(err)
	}

	publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Sender: kafka.SenderConfig{Config: config}})
	if err != nil {
		panic(err)
	}
	defer func() { _ = publisher.Close() }()
	msg := message.NewMessage("0198b6a0-0000-7000-8000-000000000001", []byte(`{"total":12}`))
	msg.Metadata.Set(delivery.KeyMetadata, "order-7")
	if err := publisher.Publish("shop.orders", msg); err != nil {
		panic(err)
	}

	subscriber, err := kafka.NewSubscriber(kafka.SubscriberConfig{Config: config, ConsumerGroup: "billing"}, nil)
	if err != nil {
		panic(err)
	}
	defer func() { _ = subscriber.Close() }()
	messages, err := subscriber.Subscribe(ctx, "shop.orders")
	if err != nil {
		panic(err)
	}
	got := <-messages
	origin, _ := delivery.OriginFrom(got.Context())
	fmt.Println(got.UUID, string(got.Payload))
	fmt.Println("key", got.Metadata.Get(delivery.KeyMetadata), "in partition", origin.Partition, "at", origin.Offset)
	got.Ack()
	// Output:
	// 0198b6a0-0000-7000-8000-000000000001 {"total":12}
	// key order-7 in partition 1 at 0
}

func ExampleSender() {
	brokers, stop := startKafka()
	defer stop()
	sender, err := kafka.NewSender(kafka.SenderConfig{
		Config:      kafka.Config{Brokers: brokers},
		Compression: kafka.Zstd,
		AutoCreate:  &kafka.TopicShape{Partitions: 6, ReplicationFactor: 1},
	})
	if err != nil {
		panic(err)
	}
	defer func() { _ = sender.Close() }()

	verdicts := make(chan delivery.Verdict, 1)
	stream := sender.Stream(delivery.StreamConfig{
		Report: func(records []*delivery.Record, verdict delivery.Verdict) {
			fmt.Println(len(records), "records", verdict.Fault)
			verdicts <- verdict
		},
	})
	fence := new(delivery.Fence) // of the key: behind a refused record none of it is sent
	stream.Send([]*delivery.Record{
		{Topic: "shop.orders", Key: []byte("order-7"), Value: []byte("created"), Fence: fence},
		{Topic: "shop.orders", Key: []byte("order-7"), Value: []byte("paid"), Fence: fence},
	})
	<-verdicts
	stream.Close()
	// Output: 2 records delivered
}

func ExamplePublishError() {
	brokers, stop := startKafka()
	defer stop()
	publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Sender: kafka.SenderConfig{Config: kafka.Config{Brokers: brokers}}})
	if err != nil {
		panic(err)
	}
	defer func() { _ = publisher.Close() }()

	err = publisher.Publish("no.such.topic", message.NewMessage("1", nil))
	var failed *kafka.PublishError
	if errors.As(err, &failed) {
		fmt.Println("unknown outcome:", failed.Unknown())
		for _, failure := range failed.Failures {
			fmt.Println("message", failure.UUID, "failed by fault of the", failure.Fault)
		}
	}
	// Output:
	// unknown outcome: false
	// message 1 failed by fault of the topic
}

func ExampleConfig() {
	config := kafka.Config{
		Brokers:          []string{"kafka-1:9092", "kafka-2:9092"},
		SecurityProtocol: kafka.SASLSSL,
		SASL:             kafka.SASL{Mechanism: kafka.ScramSHA512, Username: "shop", Password: "a secret"},
	}
	fmt.Println(config.Validate())
	fmt.Println(config)
	fmt.Println(config.SASL.Password)
	// Output:
	// <nil>
	// kafka SASL_SSL kafka-1:9092,kafka-2:9092 SCRAM-SHA-512 user "shop"
	// [redacted]
}

func ExampleConfig_Validate() {
	fmt.Println(kafka.Config{Brokers: []string{"kafka"}, SecurityProtocol: kafka.SASLSSL}.Validate())
	// Output:
	// kafka: invalid configuration: broker "kafka" is not host:port
	// kafka: invalid configuration: SASL.Username is empty
	// kafka: invalid configuration: SASL.Password is empty
}

func ExampleParseBrokers() {
	brokers, err := kafka.ParseBrokers("kafka-1:9093, kafka-2")
	fmt.Println(brokers, err)
	// Output: [kafka-1:9093 kafka-2:9092] <nil>
}

func ExamplePartitionFor() {
	fmt.Println(kafka.PartitionFor([]byte("order-7"), 6))
	fmt.Println(kafka.PartitionFor([]byte("order-8"), 6))
	fmt.Println(kafka.PartitionFor(nil, 6))
	// Output:
	// 1
	// 5
	// -1
}

func ExampleCreateTopics() {
	brokers, stop := startKafka()
	defer stop()
	config := kafka.Config{Brokers: brokers}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	audit := kafka.Topic{Name: "shop.audit", TopicShape: kafka.TopicShape{
		Partitions: 3, ReplicationFactor: 1, Configs: map[string]string{"retention.ms": "-1"},
	}}
	fmt.Println(kafka.CreateTopics(ctx, config, audit))
	audit.Partitions = 12
	var size *kafka.TopicSizeError
	fmt.Println(errors.As(kafka.CreateTopics(ctx, config, audit), &size), size.Partitions)
	// Output:
	// <nil>
	// true 3
}
