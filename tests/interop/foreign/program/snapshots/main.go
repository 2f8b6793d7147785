// An xDS server of go-control-plane's, as subject of the tests' rules: it serves what it is told.
//
// It prints its address, then takes a line of JSON for each state that it shall have, {"cluster": {"a": "<base64>"}}, and
// answers each with a line once the state is in force.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"sort"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	test "github.com/envoyproxy/go-control-plane/pkg/test/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	// Known to whoever compares what stands in an Any.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

type kind struct {
	response types.ResponseType
	make     func() proto.Message
}

var kinds = map[string]kind{
	"cluster":  {types.Cluster, func() proto.Message { return &cluster.Cluster{} }},
	"endpoint": {types.Endpoint, func() proto.Message { return &endpoint.ClusterLoadAssignment{} }},
	"listener": {types.Listener, func() proto.Message { return &listener.Listener{} }},
	"secret":   {types.Secret, func() proto.Message { return &tls.Secret{} }},
	"route":    {types.Route, func() proto.Message { return &route.RouteConfiguration{} }},
}

// snapshotOf makes a snapshot of what a line says; a kind's version is the digest of its contents.
func snapshotOf(line []byte) (*cache.Snapshot, error) {
	told := map[string]map[string]string{}
	if err := json.Unmarshal(line, &told); err != nil {
		return nil, err
	}
	snapshot := &cache.Snapshot{}
	for name, row := range kinds {
		digest := sha256.New()
		var found []types.Resource
		names := make([]string, 0, len(told[name]))
		for each := range told[name] {
			names = append(names, each)
		}
		sort.Strings(names)
		for _, each := range names {
			body, err := base64.StdEncoding.DecodeString(told[name][each])
			if err != nil {
				return nil, err
			}
			message := row.make()
			if err := proto.Unmarshal(body, message); err != nil {
				return nil, err
			}
			digest.Write(body)
			found = append(found, message)
		}
		version := hex.EncodeToString(digest.Sum(nil))[:12]
		snapshot.Resources[row.response] = cache.NewResources(version, found)
	}
	return snapshot, nil
}

func main() {
	ctx, node := context.Background(), os.Args[1]
	snapshots := cache.NewSnapshotCache(false, cache.IDHash{}, nil)
	front := grpc.NewServer()
	test.RegisterServer(front, server.NewServer(ctx, snapshots, nil))
	bound, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(front.Serve(bound)) }()
	fmt.Println(bound.Addr())
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		snapshot, err := snapshotOf(lines.Bytes())
		if err == nil {
			err = snapshots.SetSnapshot(ctx, node, snapshot)
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("in force")
	}
}
