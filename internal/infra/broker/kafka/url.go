package kafka

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

const (
	scheme      = "kafka://"
	defaultPort = "9092"
)

// ParseURL reads a broker URL, kafka://host:port,host:port, and returns the
// addresses. A host without a port gets 9092.
func ParseURL(raw string) ([]string, error) {
	if strings.Contains(raw, "@") { // the value isn't repeated: it may hold a password
		return nil, fmt.Errorf("kafka: the broker URL holds a user or password, which are not read from there: write kafka://host:9092")
	}
	list, ok := strings.CutPrefix(raw, scheme)
	if !ok {
		return nil, fmt.Errorf("kafka: %q is not a Kafka URL: write kafka://host:9092,host:9092", raw)
	}
	var brokers []string
	for address := range strings.SplitSeq(strings.TrimSuffix(list, "/"), ",") {
		broker, err := parseAddress(strings.TrimSpace(address))
		if err != nil {
			return nil, fmt.Errorf("kafka: %q in %q is not an address (%w): write kafka://host:9092,host:9092", address, raw, err)
		}
		brokers = append(brokers, broker)
	}
	return brokers, nil
}

// parseAddress returns address as host:port.
func parseAddress(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		// Without a port, or not an address at all: the second try tells.
		host, port, err = net.SplitHostPort(address + ":" + defaultPort)
	}
	if err != nil {
		return "", err
	}
	if host == "" {
		return "", fmt.Errorf("the host is missing")
	}
	if strings.ContainsAny(host, "/?#% ") {
		return "", fmt.Errorf("%q is not a host", host)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	return net.JoinHostPort(host, port), nil
}
