# DevPulse: `make run` starts it, `make test` proves it.

# Your own devpulse.yaml when there is one, else the example, which runs as it is.
CONFIG ?= $(firstword $(wildcard devpulse.yaml) devpulse.example.yaml)
# Passed on: make test ARGS="-E 'test(dora)'", make demo ARGS="--help"
ARGS ?=

.PHONY: help run demo install test check bench fmt

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build DevPulse and start it on SQLite at http://127.0.0.1:8080 (data in ./devpulse-data)
	cargo run --release --locked --bin devpulse -- serve --config $(CONFIG) $(ARGS)

demo: ## The whole loop in under a minute; ARGS=--keep stays up for exploring
	cargo run --release --locked --bin devpulse -- demo $(ARGS)

install: ## Put the command `devpulse` on the PATH (into ~/.cargo/bin)
	cargo install --locked --path .

test: ## Install what the tests need, start a temporary PostgreSQL and run every test
	tests/run $(ARGS)

check: ## Format, clippy, documentation, dependency policy, Prometheus rules
	tests/check

bench: ## Durable events per second, from event to rollback call, questions over a long history; on this machine
	tests/bench $(ARGS)

fmt: ## Format the code
	cargo fmt --all
