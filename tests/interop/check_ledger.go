// Verifies what a ledger claims with the Go project's own log code (golang.org/x/mod/sumdb, which
// guards Go's module downloads), so that nothing of ours judges itself.
//
//	go run tests/interop/check_ledger.go CASE.json
//
// CASE.json holds `vkey`, the notes `old` and `new`, `consistency` (hashes in base64) from the one to
// the other, `proofs` (each a tlog-proof `text` under `new` and its `entry`), and `witnesses` (each a
// `vkey` of kind cosignature/v1 whose line must stand under `new`).
//
// The packages lie in Go's source tree; run with GO111MODULE=off and a GOPATH whose
// src/golang.org/x is a link to $(go env GOROOT)/src/cmd/vendor/golang.org/x.
//
// Ends with 0 if all of it holds, with 1 and the reason if something does not.
package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type proof struct {
	Text  string `json:"text"`
	Entry string `json:"entry"`
}

type testCase struct {
	Vkey        string      `json:"vkey"`
	Old         string      `json:"old"`
	New         string      `json:"new"`
	Consistency []tlog.Hash `json:"consistency"`
	Proofs      []proof     `json:"proofs"`
	Witnesses   []string    `json:"witnesses"`
}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
	fmt.Println("accepted")
}

func run(path string) error {
	bytes, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var c testCase
	if err := json.Unmarshal(bytes, &c); err != nil {
		return err
	}
	verifier, err := note.NewVerifier(c.Vkey)
	if err != nil {
		return err
	}
	old, err := open(c.Old, verifier)
	if err != nil {
		return err
	}
	head, err := open(c.New, verifier)
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(c.Consistency, head.N, head.Hash, old.N, old.Hash); err != nil {
		return err
	}
	for _, p := range c.Proofs {
		if err := checkProof(p, c.New, head); err != nil {
			return err
		}
	}
	for _, vkey := range c.Witnesses {
		if err := checkWitness(c.New, vkey); err != nil {
			return err
		}
	}
	return nil
}

// open verifies a checkpoint's signature and reads its tree.
func open(text string, verifier note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open([]byte(text), note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, errors.New("no checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	hash, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: hash}, err
}

// checkProof reads c2sp.org/tlog-proof@v1.
func checkProof(p proof, note string, head tlog.Tree) error {
	top, checkpoint, found := strings.Cut(p.Text, "\n\n")
	lines := strings.Split(top, "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" || checkpoint != note {
		return errors.New("no proof under this checkpoint")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return err
	}
	var path tlog.RecordProof
	for _, line := range lines[2:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		path = append(path, hash)
	}
	return tlog.CheckRecord(path, head.N, head.Hash, index, tlog.RecordHash([]byte(p.Entry)))
}

// checkWitness verifies a c2sp.org/tlog-cosignature@v1 line; the packages above know only logs.
func checkWitness(text, vkey string) error {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return errors.New("no vkey")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 33 || key[0] != 0x04 {
		return errors.New("no vkey of a cosigner")
	}
	id := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	split := strings.LastIndex(text, "\n\n") + 1
	for _, line := range strings.Split(text[split+1:], "\n") {
		fields := strings.SplitN(line, " ", 3)
		if len(fields) != 3 || fields[0] != "—" || fields[1] != parts[0] {
			continue
		}
		signature, err := base64.StdEncoding.DecodeString(fields[2])
		if err != nil || len(signature) != 4+8+64 || string(signature[:4]) != string(id[:4]) {
			continue
		}
		time := binary.BigEndian.Uint64(signature[4:12])
		message := fmt.Sprintf("cosignature/v1\ntime %d\n%s", time, text[:split])
		if ed25519.Verify(key[1:], []byte(message), signature[12:]) {
			return nil
		}
	}
	return errors.New("the witness has not signed this checkpoint")
}
