# SPDX-License-Identifier: MIT
# The tests: unit (pure cores), process (real handler, library and emulated readers), system (container, VM).

T = $(B)/tests
SUMMARY = build/summary

UNIT_TESTS = $(patsubst tests/unit/%.c,$(T)/%,$(wildcard tests/unit/test-*.c))
UNIT_FAKES = $(call OBJ,$(filter-out $(wildcard tests/unit/test-*.c),$(wildcard tests/unit/*.c)))

$(T)/libfakes.a: $(UNIT_FAKES)
	@mkdir -p $(@D)
	$(Q)rm -f $@; $(AR) rcs $@ $(filter %.o,$^)

$(B)/libclient.a: $(call PIC,$(CLIENT) $(WIRE)) sources.mk
	$(Q)rm -f $@; $(AR) rcs $@ $(filter %.o,$^)

$(T)/test-%: $(B)/obj/tests/unit/test-%.o $(T)/libfakes.a $(B)/libclient.a $(B)/libhandler.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(T)/libfakes.a $(B)/libclient.a $(B)/libhandler.a \
		$(CMOCKA_LIBS) $(HANDLER_LIBS) -lpthread

$(B)/obj/tests/%.o: ALL_CPPFLAGS += -Iclient $(CMOCKA_CFLAGS)

# ---- emulated readers (tests/model/README) ----

MODEL_CARDS = card card-app card-t0 card-t1 card-pin card-socket text model
MODEL_CORE = $(addprefix tests/model/,$(addsuffix .c,$(MODEL_CARDS) reader reader-control reader-count reader-fault \
	reader-ccid reader-exchange reader-iccd reader-secure))
MODEL_BED = tests/model/bed.c tests/model/bed-control.c $(MODEL_CORE)
MODEL_UMOCK = $(addprefix tests/model/,umock-reader.c umock-device.c umock-ioctl.c umock-sysfs.c card-cacard.c)
M = $(B)/model
MODEL_PROGRAMS = $(M)/usbip-reader $(M)/model-ctl $(M)/usbip-test $(M)/test-card $(M)/test-reader $(M)/test-iccd $(M)/test-secure
ifeq ($(have_umockdev),yes)
MODEL_PROGRAMS += $(M)/umock-reader $(M)/usbnode.so $(M)/fdshift.so $(M)/usb-client $(M)/udev-watch
endif

# The emulation is not what the sanitizers look for, and a preloaded library must not be instrumented.
MODEL_CFLAGS = -std=gnu17 $(WARNINGS) -g -O2
SYSTEM_HEADERS = $(subst -I,-isystem ,$(1))

$(B)/obj/tests/model/%.o: tests/model/%.c build/config.mk
	@mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE -I. -DMODEL_DIR='"$(CURDIR)/tests/model/models"' $(LIBUSB_CFLAGS) $(MODEL_CFLAGS) \
		$(call SYSTEM_HEADERS,$(UMOCKDEV_CFLAGS) $(CACARD_CFLAGS)) $(DEPS) -c $< -o $@

MODEL_LINK = @mkdir -p $(M); echo "  $@"; $(CC) $(MODEL_CFLAGS) -o $@ $(filter %.o,$^)
$(M)/umock-reader: $(call OBJ,$(MODEL_UMOCK) $(MODEL_BED))
	$(MODEL_LINK) $(UMOCKDEV_LIBS) $(CACARD_LIBS) -lutil -lpthread
$(M)/usbip-reader: $(call OBJ,tests/model/usbip-reader.c tests/model/usbip.c $(MODEL_BED))
	$(MODEL_LINK) -lpthread
$(M)/model-ctl: $(call OBJ,tests/model/model-ctl.c)
	$(MODEL_LINK)
$(M)/usb-client: $(call OBJ,tests/model/usb-client.c)
	$(MODEL_LINK) $(LIBUSB_LIBS)
$(M)/usbip-test: $(call OBJ,tests/model/usbip-test.c)
	$(MODEL_LINK)
$(M)/udev-watch: $(call OBJ,tests/model/udev-watch.c)
	$(MODEL_LINK) $(UDEV_LIBS)
$(M)/test-%: $(call OBJ,tests/model/test-%.c $(MODEL_CORE))
	$(MODEL_LINK) $(CMOCKA_LIBS)
$(M)/%.so: tests/model/%.c
	@mkdir -p $(M)
	$(Q)$(CC) -D_GNU_SOURCE -I. $(MODEL_CFLAGS) -shared -fPIC -o $@ $<

.PHONY: model
model: $(MODEL_PROGRAMS)

# ---- levels ----

.PHONY: check-unit check-process check-threads check check-style check-sanitized check-system test demo bench witness fuzz
.SECONDARY:

RUN = tests/run.py
SUFFIX = $(if $(SANITIZE), ($(SANITIZE)))
# Programs of the process level in C.
PROCESS_PROGRAMS = $(patsubst tests/process/%.c,$(T)/%,$(wildcard tests/process/*.c))
# The longest first.
PROCESS_TESTS = tests/conformance/run.sh tests/conformance/peer.sh tests/storm/storm.sh $(wildcard tests/process/*.sh) \
	$(wildcard tests/witness/*.sh) tests/bench/smoke.sh

# library-* are linked with the library as any program is.
$(filter $(T)/library-%,$(PROCESS_PROGRAMS)): $(B)/libpcsclite.so.1
$(PROCESS_PROGRAMS): $(T)/%: $(B)/obj/tests/process/%.o
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o %.so.1,$^) -ldl -lpthread

# The conformance tests (tests/conformance/README): one program for any stack, one that stands alone, and the handler with one more driver.
CONFORMANCE_ALONE = $(addprefix tests/conformance/,abi.c driver-script.c ifd-instant.c ifd-script.c pcscd-host.c)
CONFORMANCE = $(filter-out $(CONFORMANCE_ALONE),$(wildcard tests/conformance/*.c))
CONFORMANCE_PROGRAMS = $(T)/conformance $(T)/abi $(T)/ifdhandler-script

$(T)/conformance: $(call OBJ,$(CONFORMANCE))
$(T)/abi: $(call OBJ,tests/conformance/abi.c)
$(T)/conformance $(T)/abi:
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) -ldl -lpthread

# Its table of drivers comes before the archive that has the other.
$(T)/ifdhandler-script: $(B)/obj/ifdhandler/main.o $(B)/obj/tests/conformance/driver-script.o $(B)/libhandler.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(HARDENING) -pie $(ALL_LDFLAGS) -o $@ $^ $(HANDLER_LIBS)

# The distribution's pcscd beside us: its drivers, where there are headers for them (libpcsclite-dev), and its devices. They share
# processes with programs that have no sanitizer.
PEER_CFLAGS := $(shell pkg-config --cflags-only-I libpcsclite 2>/dev/null)
PEER_PROGRAMS = $(if $(PEER_CFLAGS),$(T)/ifd-instant.so $(T)/ifd-script.so)
ifeq ($(have_umockdev),yes)
PEER_PROGRAMS += $(T)/pcscd-host
endif

$(T)/ifd-%.so: tests/conformance/ifd-%.c tests/conformance/script.h tests/bench/instant.h
	@mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE -I. $(call SYSTEM_HEADERS,$(PEER_CFLAGS)) $(MODEL_CFLAGS) -shared -fPIC -o $@ $< -lpthread

$(T)/pcscd-host: tests/conformance/pcscd-host.c
	@mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE -I. -Iclient $(call SYSTEM_HEADERS,$(UMOCKDEV_CFLAGS)) $(MODEL_CFLAGS) -o $@ $< $(UMOCKDEV_LIBS) -ldl

# What `make bench` measures with (tests/bench/README). The handler is the product but for the driver `virtual`: the object
# comes before the archive that has the other.
BENCH_PROGRAMS = $(T)/bench $(T)/ifdhandler-instant
$(T)/bench: $(call OBJ,$(filter-out %/driver-instant.c,$(wildcard tests/bench/*.c)))
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ -ldl
$(T)/ifdhandler-instant: $(B)/obj/ifdhandler/main.o $(B)/obj/tests/bench/driver-instant.o $(B)/libhandler.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(HARDENING) -pie $(ALL_LDFLAGS) -o $@ $^ $(HANDLER_LIBS)

# The fault storm (tests/storm/README): the clock and sd-event's timers are its own.
$(B)/obj/tests/storm/%.o: ALL_CPPFLAGS += -DMODEL_DIR='"$(CURDIR)/tests/model/models"'
$(T)/storm: $(call OBJ,$(wildcard tests/storm/*.c) $(MODEL_CORE)) $(B)/libhandler.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -Wl,--wrap=clock_gettime -o $@ $^ $(HANDLER_LIBS)

check-unit: $(T)/storm $(UNIT_TESTS) $(M)/test-card $(M)/test-reader $(M)/test-iccd $(M)/test-secure
	@mkdir -p build
	$(RUN) "unit$(SUFFIX)" $(SUMMARY) $(T)/storm $(UNIT_TESTS) $(M)/test-card $(M)/test-reader $(M)/test-iccd $(M)/test-secure

check-process: all model $(PROCESS_PROGRAMS) $(CONFORMANCE_PROGRAMS) $(PEER_PROGRAMS) $(BENCH_PROGRAMS)
	@mkdir -p build
	B=$(B) SANITIZE=$(SANITIZE) $(RUN) "process$(SUFFIX)" $(SUMMARY) $(PROCESS_TESTS)

check-style:
	@mkdir -p build
	$(RUN) "style" $(SUMMARY) $(wildcard tests/style/*.sh) man/check.sh

# No root, no network, nothing installed: what packagers run. `-` and the total: all levels run, one failure fails.
check: all
	@mkdir -p build; rm -f $(SUMMARY)
	-@$(MAKE) --no-print-directory -k check-style check-unit check-process
	@$(RUN) --total $(SUMMARY)

check-sanitized:
	-@$(MAKE) --no-print-directory -k SANITIZE=address,undefined check-unit check-process
	-@$(MAKE) --no-print-directory check-threads

# The library with the thread sanitizer; the handlers, one thread each, are those of the common build. setarch: the
# sanitizer's shadow has no room for all that a kernel may randomise.
THREAD_TESTS = $(addprefix build-thread/tests/test-,threads watch list connect card descriptor)
ifeq ($(SANITIZE),thread)
$(T)/run-threads: $(THREAD_TESTS) $(T)/client-threads $(T)/conformance $(B)/libpcsclite.so.1
	@ln -sf ../build/ifdhandler ../build/reader-ctl $(B)/
	@ln -sf ../../build/tests/ifdhandler-script $(T)/ifdhandler-script
	B=$(B) SANITIZE=$(SANITIZE) TEST_TIMEOUT=600 setarch -R $(RUN) "threads ($(SANITIZE))" $(SUMMARY) $(THREAD_TESTS) tests/process/client-threads.sh \
		tests/conformance/run.sh
endif

check-threads: build/ifdhandler build/reader-ctl build/tests/ifdhandler-script
	@$(MAKE) --no-print-directory SANITIZE=thread build-thread/tests/run-threads

# Container and VM; needs root for a Debian tree and its mounts.
SUDO = $(if $(filter 0,$(shell id -u)),,sudo -n)
check-system: model
	tests/system/mktree.sh build/system/tree build/system/obj
	$(SUDO) tests/system/level.sh "container" $(SUMMARY) --container --payload build/system/tree
	$(SUDO) tests/system/level.sh "virtual machine" $(SUMMARY) --payload build/system/tree \
		--helper $(M)/usbip-reader --helper $(M)/model-ctl

# Everything, with what it needs installed first. Fuzzing takes what the machines of the system level leave idle.
test:
	tests/deps.sh
	@mkdir -p build; rm -f $(SUMMARY)
	@$(MAKE) --no-print-directory all model
	-@$(MAKE) --no-print-directory -k check-style check-unit check-process
	-@$(MAKE) --no-print-directory -k check-sanitized
	-@nice -n 19 $(MAKE) --no-print-directory fuzz FUZZ_SECONDS=20 >build/fuzz.log 2>&1 & \
		$(MAKE) --no-print-directory -k check-system; wait; cat build/fuzz.log
	@grep -q '^fuzz' $(SUMMARY) || printf 'fuzz\t0\t1\t0\t0\n' >>$(SUMMARY)
	@echo; $(RUN) --total $(SUMMARY)

demo:
	tests/deps.sh demo
	@$(MAKE) --no-print-directory all
	tests/demo.sh build

# BENCH_FLAGS=--help says what may be chosen.
bench: all $(BENCH_PROGRAMS) $(filter %/ifd-instant.so,$(PEER_PROGRAMS))
	tests/bench/bench.py $(BENCH_FLAGS) $(B)

# Transfers and times beside the distribution's CCID driver (tests/witness/README).
witness: all model
	B=$(B) tests/witness/count.sh

# ---- fuzzing: FUZZ_SECONDS for each target, two at a time ----

FUZZ_SECONDS = 600
FUZZ_TARGETS = $(patsubst tests/fuzz/%.c,build/fuzz/bin/%,$(wildcard tests/fuzz/fuzz-*.c))
FUZZ_FLAGS = -g -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all

fuzz:
	@$(MAKE) --no-print-directory B=build/fuzz CC=clang CFLAGS="$(FUZZ_FLAGS)" $(FUZZ_TARGETS)
	tests/fuzz/run.sh $(FUZZ_SECONDS) $(SUMMARY) $(FUZZ_TARGETS)

# The whole driver in virtual time.
build/fuzz/bin/fuzz-ccid: build/fuzz/obj/tests/storm/virtual-time.o
build/fuzz/bin/fuzz-ccid: FUZZ_LDFLAGS = -Wl,--wrap=clock_gettime

build/fuzz/bin/%: build/fuzz/obj/tests/fuzz/%.o build/fuzz/tests/libfakes.a build/fuzz/libclient.a build/fuzz/libhandler.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -fsanitize=fuzzer $(FUZZ_LDFLAGS) -o $@ $^ build/fuzz/libclient.a build/fuzz/libhandler.a $(HANDLER_LIBS) $(CMOCKA_LIBS)
