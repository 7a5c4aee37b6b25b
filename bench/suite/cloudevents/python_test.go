package cloudevents_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/stretchr/testify/require"
)

// pythonEnv names the variable with the Python that has the package cloudevents
// in the version that requirements.txt says. Defaults to python3.
const pythonEnv = "CLOUDEVENTS_PYTHON"

// python is the CloudEvents SDK for Python in a process of its own.
type python struct {
	mu  sync.Mutex
	in  *json.Encoder
	out *json.Decoder
}

// startPython skips the test where the SDK isn't installed, or fails it where
// REQUIRE_SERVICES=1.
func startPython(t *testing.T) *python {
	t.Helper()
	interpreter := cmp.Or(os.Getenv(pythonEnv), "python3")
	if out, err := exec.CommandContext(t.Context(), interpreter, "-c", "import cloudevents.core").CombinedOutput(); err != nil {
		if os.Getenv("REQUIRE_SERVICES") == "1" {
			t.Fatalf("%s has no cloudevents, and REQUIRE_SERVICES=1 forbids skipping: %v\n%s", interpreter, err, out)
		}
		t.Skipf("no CloudEvents SDK for Python: pip install -r testdata/requirements.txt, and set %s to that Python, to run this test", pythonEnv)
	}
	command := exec.Command(interpreter, "testdata/sdk.py")
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	require.NoError(t, err)
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		require.NoError(t, in.Close())
		require.NoError(t, command.Wait())
	})
	return &python{in: json.NewEncoder(in), out: json.NewDecoder(bufio.NewReader(out))}
}

// pythonRequest and pythonAnswer are described in sdk.py.
type pythonRequest struct {
	Do         string            `json:"do"`
	Binding    string            `json:"binding"`
	Mode       string            `json:"mode,omitempty"`
	Headers    map[string]string `json:"headers,omitempty"`
	Key        *string           `json:"key"`
	Body       []byte            `json:"body,omitempty"`
	Attributes map[string]any    `json:"attributes,omitempty"`
	Data       json.RawMessage   `json:"data,omitempty"`
	DataBase64 []byte            `json:"data_base64,omitempty"`
}

type pythonAnswer struct {
	Headers    map[string]string `json:"headers"`
	Key        *string           `json:"key"`
	Body       []byte            `json:"body"`
	Attributes map[string]any    `json:"attributes"`
	Data       json.RawMessage   `json:"data"`
}

func (p *python) ask(t *testing.T, request pythonRequest) (answer pythonAnswer) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	require.NoError(t, p.in.Encode(request))
	require.NoError(t, p.out.Decode(&answer), "see its error output")
	return answer
}

// read returns the event as Python has read it. Python knows microseconds.
func (p *python) read(t *testing.T, binding string, w wire) read {
	t.Helper()
	request := pythonRequest{Do: "read", Binding: binding, Headers: w.headers, Body: w.body}
	if w.key != "" {
		request.Key = &w.key
	}
	answer := p.ask(t, request)
	for name, value := range answer.Attributes {
		switch value := value.(type) {
		case float64:
			answer.Attributes[name] = int32(value)
		case string:
			if name == "time" {
				at, err := types.ParseTime(value)
				require.NoError(t, err)
				answer.Attributes[name] = at.UTC()
			}
		}
	}
	return read{answer.Attributes, answer.Data, time.Microsecond}
}

// write returns the event as Python writes it.
func (p *python) write(t *testing.T, binding, mode string, f foreign) wire {
	t.Helper()
	request := pythonRequest{Do: "write", Binding: binding, Mode: mode, Attributes: f.attributes, Data: f.data}
	if f.base64 {
		request.Data, request.DataBase64 = nil, f.data
	}
	answer := p.ask(t, request)
	w := wire{headers: answer.Headers, body: answer.Body}
	if answer.Key != nil {
		w.key = *answer.Key
	}
	return w
}
