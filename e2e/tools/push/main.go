// Command publish puts artifacts into a registry with the client libraries that the producers themselves are made of:
// oras-go (the library below `oras push`), Flux's oci package (the library below `flux push artifact`), imgpkg's image
// package, and go-containerregistry, below these two and many others.
//
// Every subcommand prints the digest of the manifest it wrote or resolved, and nothing else, on standard output; only
// `manifest` prints the manifest itself, and `zip` writes a file and prints that one's digest.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sort"
	"strings"
	"syscall"
)

// A command parses its own flags and answers what to print.
type command struct {
	usage string
	run   func(ctx context.Context, args []string) (string, error)
}

func commands() map[string]command {
	return map[string]command{
		"oras":        {"oras [--config FILE:TYPE] [--artifact-type TYPE] [--annotation K=V]... REF [PATH[:TYPE]]...", pushOras},
		"flux":        {"flux [--static [--extension EXT]] [--source URL] [--revision REV] [--annotation K=V]... REF DIR|FILE", pushFlux},
		"flux-pull":   {"flux-pull REF DIR|FILE", pullFlux},
		"kubara":      {"kubara --name NAME --version X.Y.Z [--annotation K=V]... REPOSITORY DIR", pushKubara},
		"raw":         {"raw [--config FILE:TYPE] [--artifact-type TYPE] [--layer FILE:TYPE[,K=V]...]... [--annotation K=V]... REF", pushRaw},
		"put":         {"put --manifest FILE --type TYPE [--blob FILE]... REF", putManifest},
		"image":       {"image [--oci] [--config-type TYPE] [--platform OS/ARCH[/VARIANT]] [--layer FILE:TYPE[,K=V]...]... REF", pushImage},
		"export":      {"export REF FILE", exportImage},
		"imgpkg":      {"imgpkg [--bundle] REF DIR", pushImgpkg},
		"imgpkg-pull": {"imgpkg-pull REF DIR", pullImgpkg},
		"index":       {"index [--annotation K=V]... REF [[OS/ARCH[/VARIANT]=]TAG|DIGEST[,K=V]...]...", pushIndex},
		"tag":         {"tag REF NEWTAG...", moveTag},
		"manifest":    {"manifest REF", printManifest},
		"resolve":     {"resolve REF", resolveReference},
		"zip":         {"zip FILE DIR", packZip},
		"delete":      {"delete REF", deleteManifest},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	digest, err := dispatch(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "publish:", err)
		os.Exit(1)
	}
	fmt.Println(digest)
}

func dispatch(ctx context.Context, args []string) (string, error) {
	if len(args) == 0 {
		return "", errors.New(usage())
	}
	chosen, known := commands()[args[0]]
	if !known {
		return "", fmt.Errorf("no command %q\n%s", args[0], usage())
	}
	digest, err := chosen.run(ctx, args[1:])
	if err != nil {
		return "", fmt.Errorf("%s: %w", args[0], err)
	}
	return digest, nil
}

func usage() string {
	lines := make([]string, 0, len(commands()))
	for _, command := range commands() {
		lines = append(lines, "  publish "+command.usage)
	}
	sort.Strings(lines)
	return "usage (each also takes --username, --password, --ca-file, --certificate and --key; without --ca-file it\n" +
		"speaks plain HTTP):\n" + strings.Join(lines, "\n")
}

// options holds what every subcommand understands.
type options struct {
	*flag.FlagSet
	connection
	annotations pairs
}

func newOptions(name string) *options {
	set := &options{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError), annotations: pairs{}}
	set.connection.flags(set.FlagSet)
	set.Var(set.annotations, "annotation", "manifest annotation, key=value; may be repeated")
	return set
}

// parse reads the flags and insists on a number of positional arguments; a negative maximum means any number.
func (o *options) parse(args []string, least, most int) error {
	if err := o.Parse(args); err != nil {
		return err
	}
	if o.NArg() < least || (most >= 0 && o.NArg() > most) {
		return fmt.Errorf("wrong number of arguments (%d); usage: publish %s", o.NArg(), commands()[o.Name()].usage)
	}
	return nil
}

// pairs collects repeated key=value flags.
type pairs map[string]string

func (p pairs) String() string { return fmt.Sprint(map[string]string(p)) }

func (p pairs) Set(value string) error {
	key, text, found := strings.Cut(value, "=")
	if !found || key == "" {
		return fmt.Errorf("%q is not key=value", value)
	}
	p[key] = text
	return nil
}

// list collects a repeated flag in the order given.
type list []string

func (l *list) String() string { return strings.Join(*l, " ") }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// splitType cuts FILE:TYPE at the last colon; without one the type is empty.
func splitType(argument string) (path, mediaType string) {
	if cut := strings.LastIndexByte(argument, ':'); cut >= 0 {
		return argument[:cut], argument[cut+1:]
	}
	return argument, ""
}
