// Calls tools from Go by plain gRPC, with stubs that are generated from proto/: `client ADDRESS < cases.json`.
//
// Prints what came back, as JSON, for the test that drives it. docs/clients.md shows the same in short.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	pb "snakepit.dev/client/snakepitv1"
)

type attachment struct {
	Data        []byte  `json:"data"`
	ContentType string  `json:"content_type,omitempty"`
	Dtype       string  `json:"dtype"`
	Shape       []int64 `json:"shape"`
}

type payload struct {
	Data        string       `json:"data"`
	Attachments []attachment `json:"attachments"`
	Warnings    []string     `json:"warnings"`
}

// A call of one tool, in one of the two forms.
type call struct {
	Tool    string          `json:"tool"`
	JSON    *map[string]any `json:"json"`
	Payload *payload        `json:"payload"`
}

type asked struct {
	Pool  string          `json:"pool"`
	Cases map[string]call `json:"cases"`
	To    int             `json:"to"`
}

type jsonReply struct {
	JSON     any      `json:"json"`
	Warnings []string `json:"warnings"`
}

type client struct {
	pool   string
	router pb.RouterServiceClient
}

func deadline() (context.Context, context.CancelFunc) {
	ctx := context.Background()
	if trace := os.Getenv("TRACEPARENT"); trace != "" { // the trace that all of this is part of
		ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", trace)
	}
	return context.WithTimeout(ctx, 20*time.Second)
}

func (c client) execute(request *pb.ExecuteRequest) (*pb.ExecuteResponse, error) {
	ctx, cancel := deadline()
	defer cancel()
	request.Pool = c.pool
	return c.router.Execute(ctx, request)
}

func (c client) roundTrip(each call) (any, error) {
	if each.Payload == nil {
		return c.jsonForm(each)
	}
	request := &pb.ExecuteRequest{Tool: each.Tool, Arguments: &pb.ExecuteRequest_Payload{Payload: toPayload(each.Payload)}}
	response, err := c.execute(request)
	if err != nil {
		return nil, err
	}
	return fromPayload(response.GetPayload()), nil
}

func (c client) jsonForm(each call) (any, error) {
	arguments, err := structpb.NewStruct(*each.JSON)
	if err != nil {
		return nil, err
	}
	response, err := c.execute(&pb.ExecuteRequest{Tool: each.Tool, Arguments: &pb.ExecuteRequest_Json{Json: arguments}})
	if err != nil {
		return nil, err
	}
	return jsonReply{response.GetJson().AsInterface(), append([]string{}, response.Warnings...)}, nil
}

func toPayload(p *payload) *pb.Payload {
	wire := &pb.Payload{Data: []byte(p.Data)}
	for _, a := range p.Attachments {
		wire.Attachments = append(wire.Attachments, &pb.Attachment{Data: a.Data, ContentType: a.ContentType, Dtype: a.Dtype, Shape: a.Shape})
	}
	return wire
}

func fromPayload(wire *pb.Payload) payload {
	p := payload{Data: string(wire.GetData()), Attachments: []attachment{}, Warnings: append([]string{}, wire.GetWarnings()...)}
	for _, a := range wire.GetAttachments() {
		p.Attachments = append(p.Attachments, attachment{Data: append([]byte{}, a.Data...), Dtype: a.Dtype, Shape: append([]int64{}, a.Shape...)})
	}
	return p
}

func (c client) stream(to int) ([]any, error) {
	ctx, cancel := deadline()
	defer cancel()
	arguments := &pb.Payload{Data: fmt.Appendf(nil, `{"to":%d}`, to)}
	stream, err := c.router.ExecuteStream(ctx, &pb.ExecuteStreamRequest{
		Pool: c.pool, Tool: "count", Arguments: &pb.ExecuteStreamRequest_Payload{Payload: arguments},
	})
	if err != nil {
		return nil, err
	}
	chunks := []any{}
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return chunks, nil
		}
		if err != nil {
			return nil, err
		}
		if message.GetPayload() == nil { // the last message may only say that it is the last
			continue
		}
		var chunk any
		if err := json.Unmarshal(message.GetPayload().Data, &chunk); err != nil {
			return nil, err
		}
		chunks = append(chunks, chunk)
	}
}

// Go's own types: a slice of floats as an attachment, and the slice that comes back.
func (c client) typedArray() ([]string, error) {
	data := []byte{}
	for _, each := range []float64{1.5, math.NaN(), math.Inf(-1)} {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(each)))
	}
	array := attachment{Data: data, ContentType: "application/x-ndarray", Dtype: "<f4", Shape: []int64{3}}
	reply, err := c.roundTrip(call{Tool: "echo", Payload: &payload{Data: `{"value":{"$attachment":0}}`, Attachments: []attachment{array}}})
	if err != nil {
		return nil, err
	}
	back, values := reply.(payload).Attachments[0].Data, []string{}
	for ; len(back) > 0; back = back[4:] {
		values = append(values, fmt.Sprint(math.Float32frombits(binary.LittleEndian.Uint32(back))))
	}
	return values, nil
}

func errorInfo(err error) map[string]any {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return map[string]any{"code": status.Code(err), "reason": info.Reason, "domain": info.Domain, "metadata": info.Metadata}
		}
	}
	return nil
}

func (c client) everything(what asked) (map[string]any, error) {
	results := map[string]any{}
	for name, each := range what.Cases {
		result, err := c.roundTrip(each)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		results[name] = result
	}
	chunks, err := c.stream(what.To)
	if err != nil {
		return nil, err
	}
	array, err := c.typedArray()
	if err != nil {
		return nil, err
	}
	nothing := &pb.ExecuteRequest_Json{Json: &structpb.Struct{}}
	failed, err := c.execute(&pb.ExecuteRequest{Tool: "fail", Arguments: nothing})
	if err != nil {
		return nil, err
	}
	_, refused := c.execute(&pb.ExecuteRequest{Tool: "ecko", Arguments: nothing})
	return map[string]any{
		"results": results, "chunks": chunks, "array": array, "refused": errorInfo(refused),
		"failed": map[string]string{"type": failed.GetToolError().GetType(), "message": failed.GetToolError().GetMessage()},
	}, nil
}

// Where a caller's pod has its token, and the CA of the control plane, if it has TLS: docs/security.md.
const secrets = "/var/run/secrets/snakepit/"

// The file that the variable names; else the pod's own; else none.
func file(variable, name string) string {
	if named, ok := os.LookupEnv(variable); ok {
		return named
	}
	if _, err := os.Stat(secrets + name); err != nil {
		return ""
	}
	return secrets + name
}

// The name of a file that is read for each call: the kubelet replaces the token before it expires.
type token string

func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	text, err := os.ReadFile(string(t))
	return map[string]string{"authorization": "Bearer " + strings.TrimSpace(string(text))}, err
}

func (token) RequireTransportSecurity() bool { return false }

func dial(address string) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if ca := file("SNAKEPIT_CA_FILE", "ca.crt"); ca != "" {
		tls, err := credentials.NewClientTLSFromFile(ca, "")
		if err != nil {
			return nil, err
		}
		options[0] = grpc.WithTransportCredentials(tls)
	}
	if named := file("SNAKEPIT_TOKEN_FILE", "token"); named != "" {
		options = append(options, grpc.WithPerRPCCredentials(token(named)))
	}
	return grpc.NewClient(address, options...)
}

func run() error {
	var what asked
	if err := json.NewDecoder(os.Stdin).Decode(&what); err != nil {
		return err
	}
	connection, err := dial(os.Args[1])
	if err != nil {
		return err
	}
	defer connection.Close()
	said, err := client{what.Pool, pb.NewRouterServiceClient(connection)}.everything(what)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(said)
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
