package main

import (
	"context"
	"errors"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/connect"
	"github.com/tailrace-go/tailrace/bus/cqrs"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

const serviceName = "shop"

// service is what its releases have in common.
type service struct {
	settings  connect.Config
	topics    names
	publisher *kafka.Publisher
	bus       *bus.Bus // directly to Kafka; examples/order has an outbox
	marshaler *cqrs.Marshaler
	metrics   *prometheus.Registry
	tally     *tally
}

// names are the topics, complete with their prefix.
type names struct{ audit, notification, created, renamed, activity, deadLetters string }

func newService(ctx context.Context, settings connect.Config) (s *service, err error) {
	s = &service{settings: settings, metrics: prometheus.NewRegistry(), tally: newTally()}
	if err := s.createTopics(ctx); err != nil {
		return nil, err
	}
	if s.publisher, err = kafka.NewPublisher(kafka.PublisherConfig{Sender: kafka.SenderConfig{Config: settings.Kafka()}}); err != nil {
		return nil, err
	}
	if s.bus, err = bus.New(bus.Config{Service: serviceName, Topics: settings.Topics(), Publisher: s.publisher}); err != nil {
		return nil, errors.Join(err, s.publisher.Close())
	}
	if s.marshaler, err = cqrs.New(cqrs.Config{Bus: s.bus, Registry: registry()}); err != nil {
		return nil, errors.Join(err, s.publisher.Close())
	}
	return s, nil
}

func (s *service) createTopics(ctx context.Context) error {
	naming := s.settings.Topics()
	var faults [6]error
	s.topics.audit, faults[0] = naming.Audit()
	s.topics.notification, faults[1] = naming.Notification()
	s.topics.created, faults[2] = userCreated.Topic(naming, serviceName)
	s.topics.renamed, faults[3] = userRenamed.Topic(naming, serviceName)
	s.topics.activity, faults[4] = naming.Custom(activity)
	s.topics.deadLetters, faults[5] = naming.DeadLetter()
	if err := errors.Join(faults[:]...); err != nil {
		return err
	}
	var topics []kafka.Topic
	for _, name := range []string{s.topics.audit, s.topics.notification, s.topics.created, s.topics.renamed, s.topics.activity, s.topics.deadLetters} {
		topics = append(topics, kafka.Topic{Name: name, TopicShape: kafka.TopicShape{Partitions: 3, ReplicationFactor: 1}})
	}
	return kafka.CreateTopics(ctx, s.settings.Kafka(), topics...)
}

func (s *service) subscriber(group string) (message.Subscriber, error) {
	return kafka.NewSubscriber(kafka.SubscriberConfig{Config: s.settings.Kafka(), ConsumerGroup: group}, nil)
}
