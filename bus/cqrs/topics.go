package cqrs

import (
	"cmp"
	"fmt"

	wmcqrs "github.com/ThreeDotsLabs/watermill/components/cqrs"
)

// PublishTopic is a cqrs.EventBusConfig.GeneratePublishTopic: the topic that a Bus would publish the event
// to, or that of [OnTopic]. An event that is another service's ([From]) is an error.
func (m *Marshaler) PublishTopic(params wmcqrs.GenerateEventPublishTopicParams) (string, error) {
	e, err := m.entry(params.Event)
	if err != nil {
		return "", err
	}
	if e.service != "" && e.service != m.service {
		return "", fmt.Errorf("cqrs: %s is published by %s, and this is %s: register it without From to publish it", e.goType, e.service, m.service)
	}
	return m.subscribeTopic(e)
}

// SubscribeTopic is a cqrs.EventProcessorConfig.GenerateSubscribeTopic: the topic that the event's service
// publishes it to.
func (m *Marshaler) SubscribeTopic(params wmcqrs.EventProcessorGenerateSubscribeTopicParams) (string, error) {
	e, err := m.entry(params.EventHandler.NewEvent())
	if err != nil {
		return "", err
	}
	return m.subscribeTopic(e)
}

// SubscribeGroupTopic is a cqrs.EventGroupProcessorConfig.GenerateSubscribeTopic: the topic that all events
// of the group share. A group has one subscription, so events on different topics are an error.
func (m *Marshaler) SubscribeGroupTopic(params wmcqrs.EventGroupProcessorGenerateSubscribeTopicParams) (string, error) {
	var shared string
	for _, handler := range params.EventGroupHandlers {
		e, err := m.entry(handler.NewEvent())
		if err != nil {
			return "", err
		}
		topic, err := m.subscribeTopic(e)
		if err != nil {
			return "", err
		}
		if shared = cmp.Or(shared, topic); shared != topic {
			return "", fmt.Errorf("cqrs: the events of group %s are on the topics %s and %s: register them with the same OnTopic, or handle them in two groups", params.EventGroupName, shared, topic)
		}
	}
	return shared, nil
}

func (m *Marshaler) subscribeTopic(e *entry) (string, error) {
	if e.topic != "" {
		return m.naming.Custom(e.topic)
	}
	service := cmp.Or(e.service, m.service)
	if service == "" {
		return "", fmt.Errorf("cqrs: no service to read %s of %s from: register it with From, or set Config.Service or Config.Bus", e.eventType, e.aggregate)
	}
	return m.naming.Domain(service, e.aggregate, e.eventType)
}
