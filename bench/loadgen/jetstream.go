package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

// jetStream publishes into a JetStream stream of file storage and waits for its acknowledgements; readers
// get the stream through push consumers of their own. Option "sync" tells only the report.
type jetStream struct {
	nats
}

const (
	streamName      = "BENCH"
	electionSeconds = 60
	// A cluster without a leader drops what it is asked.
	electionPatience = time.Second
	electionPause    = 200 * time.Millisecond
)

func newJetStream(task *Task) Dialect { return &jetStream{nats{task}} }

func (d *jetStream) Acks() bool { return true }

// Before creates the stream. A cluster takes a while to elect who does that, and meanwhile nobody answers.
func (d *jetStream) Before(plan *Plan) error {
	replicas := d.task.Options["replicas"]
	if replicas == "" {
		replicas = "1"
	}
	for deadline := nowNs() + electionSeconds*1e9; ; {
		err := d.createStream(plan.Owner, replicas)
		if err == nil || replicas == "1" || nowNs() > deadline {
			return err
		}
		time.Sleep(electionPause)
	}
}

func (d *jetStream) createStream(robot, replicas string) error {
	wire, err := d.open(robot)
	if err != nil {
		return err
	}
	defer wire.conn.Close()
	if replicas != "1" {
		wire.conn.Patience(electionPatience)
	}
	_, err = wire.request("$JS.API.STREAM.CREATE."+streamName,
		`{"name":"`+streamName+`","subjects":["bench.>"],"storage":"file","retention":"limits","num_replicas":`+replicas+`}`)
	return err
}

// request asks the JetStream API and returns the answer.
func (w *natsWire) request(subject, body string) ([]byte, error) {
	commands := fmt.Sprintf("SUB _INBOX.api 1\r\nPUB %s _INBOX.api %d\r\n%s\r\n", subject, len(body), body)
	if err := w.conn.Write([]byte(commands)); err != nil {
		return nil, err
	}
	for {
		frame, err := w.next()
		if err != nil {
			return nil, err
		}
		if frame[0] == 'H' {
			return nil, fmt.Errorf("nobody answers for JetStream: %.100q", frame)
		}
		if frame[0] != 'M' {
			continue
		}
		if bytes.Contains(frame, []byte(`"error"`)) {
			return nil, fmt.Errorf("JetStream says: %.300q", frame)
		}
		return frame, nil
	}
}

func (d *jetStream) Subscribe(robot string, groups []string) (*Conn, Wire, error) {
	wire, err := d.open(robot)
	if err != nil {
		return nil, nil, err
	}
	for _, group := range groups {
		inbox := "deliver." + robot + "." + group
		// The stream's name and the filter are in the subject of the request: a named, ephemeral consumer.
		config := fmt.Sprintf(`{"stream_name":"%s","config":{"name":"%s-%s","deliver_subject":"%s","deliver_policy":"all",`+
			`"ack_policy":"none","replay_policy":"instant","filter_subject":"%s","mem_storage":true}}`,
			streamName, robot, group, inbox, subjectOf(group))
		if err := wire.roundTrip("SUB " + inbox + " 2\r\n"); err != nil {
			return nil, nil, err
		}
		subject := "$JS.API.CONSUMER.CREATE." + streamName + "." + robot + "-" + group + "." + subjectOf(group)
		asker, err := d.open(robot)
		if err != nil {
			return nil, nil, err
		}
		_, err = asker.request(subject, config)
		asker.conn.Close()
		if err != nil {
			return nil, nil, err
		}
	}
	return wire.conn, &jetStreamWire{natsWire: *wire}, nil
}

func (d *jetStream) Publish(robot string, _ []string) (*Conn, Wire, error) {
	wire, err := d.open(robot)
	if err != nil {
		return nil, nil, err
	}
	return wire.conn, &jetStreamWire{natsWire: *wire}, wire.roundTrip("SUB _INBOX." + robot + ".* 1\r\n")
}

func (d *jetStream) Template(robot, group string, body []byte) (Encoder, error) {
	return newTemplate([]byte(fmt.Sprintf("PUB %s _INBOX.%s.%s %d\r\n%s\r\n", subjectOf(group), robot, idMark, len(body), body)))
}

type jetStreamWire struct {
	natsWire
}

// Taped: the reply subject of each delivery names the consumer, so no two readers get the same bytes.
func (w *jetStreamWire) Taped() bool { return false }

func (w *jetStreamWire) Take(frame []byte, sink Sink) error {
	const prefix = "MSG _INBOX."
	if !bytes.HasPrefix(frame, []byte(prefix)) {
		return w.natsWire.Take(frame, sink)
	}
	subject := frame[len("MSG "):]
	subject = subject[:bytes.IndexByte(subject, ' ')]
	id, ok := takeHex(subject[len(subject)-digits:])
	if !ok || bytes.Contains(frame, []byte(`"error"`)) || !strings.Contains(string(frame), `"seq":`) {
		return fmt.Errorf("JetStream says: %.300q", frame)
	}
	return sink.Acked(id)
}
