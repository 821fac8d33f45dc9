# Two commands matter: `make run` opens a consultation on this machine, `make test` checks everything.

.PHONY: help run test bench loadtest quality soak fuzz

help:
	@echo "make run    build the page and the relay, start it for development (ARGS=\"--port 8080\" passes words on)"
	@echo "make test   format, lints, docs, licences, tests, page, real clients"
	@echo "make bench | loadtest | quality | soak | fuzz"

run:
	@scripts/run $(ARGS)

test:
	@scripts/test

bench:
	@scripts/bench $(ARGS)

loadtest:
	@scripts/loadtest $(ARGS)

quality:
	@scripts/quality

soak:
	@scripts/soak $(ARGS)

fuzz:
	@scripts/fuzz $(ARGS)
