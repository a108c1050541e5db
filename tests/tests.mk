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

MODEL_CARDS = card card-app card-t0 card-t1 card-socket text model
MODEL_CORE = $(addprefix tests/model/,$(addsuffix .c,$(MODEL_CARDS) reader reader-control reader-count reader-fault \
	reader-ccid reader-exchange))
MODEL_BED = tests/model/bed.c tests/model/bed-control.c $(MODEL_CORE)
MODEL_UMOCK = $(addprefix tests/model/,umock-reader.c umock-device.c umock-ioctl.c umock-sysfs.c card-cacard.c)
M = $(B)/model
MODEL_PROGRAMS = $(M)/usbip-reader $(M)/model-ctl $(M)/usbip-test $(M)/test-card $(M)/test-reader
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

.PHONY: check-unit check-process check check-style check-sanitized check-system test demo bench fuzz
.SECONDARY:

RUN = tests/run.py
SUFFIX = $(if $(SANITIZE), ($(SANITIZE)))
# Programs of the process level in C: pcsc-* share pcsc.c, the others stand alone.
PROCESS_PROGRAMS = $(patsubst tests/process/%.c,$(T)/%,$(filter-out tests/process/pcsc.c,$(wildcard tests/process/*.c)))
PROCESS_TESTS = $(wildcard tests/process/*.sh)

$(filter $(T)/pcsc-%,$(PROCESS_PROGRAMS)): $(B)/obj/tests/process/pcsc.o
# library-* are linked with the library as any program is.
$(filter $(T)/library-%,$(PROCESS_PROGRAMS)): $(B)/libpcsclite.so.1
$(PROCESS_PROGRAMS): $(T)/%: $(B)/obj/tests/process/%.o
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o %.so.1,$^) -ldl -lpthread

check-unit: $(UNIT_TESTS) $(M)/test-card $(M)/test-reader
	@mkdir -p build
	$(RUN) "unit$(SUFFIX)" $(SUMMARY) $(UNIT_TESTS) $(M)/test-card $(M)/test-reader

check-process: all model $(PROCESS_PROGRAMS)
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

# Container and VM; needs root for a Debian tree and its mounts.
SUDO = $(if $(filter 0,$(shell id -u)),,sudo -n)
check-system: model
	tests/system/mktree.sh build/system/tree build/system/obj
	$(SUDO) tests/system/level.sh "container" $(SUMMARY) --container --payload build/system/tree
	$(SUDO) tests/system/level.sh "virtual machine" $(SUMMARY) --payload build/system/tree \
		--helper $(M)/usbip-reader --helper $(M)/model-ctl

# Everything, with what it needs installed first.
test:
	tests/deps.sh
	@mkdir -p build; rm -f $(SUMMARY)
	@$(MAKE) --no-print-directory all model
	-@$(MAKE) --no-print-directory -k check-style check-unit check-process
	-@$(MAKE) --no-print-directory -k check-sanitized
	-@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=20
	-@$(MAKE) --no-print-directory -k check-system
	@echo; $(RUN) --total $(SUMMARY)

demo:
	tests/deps.sh demo
	@$(MAKE) --no-print-directory all
	tests/demo.sh build

bench: all $(T)/bench
	tests/bench/bench.sh $(B)

$(T)/bench: $(B)/obj/tests/bench/bench.o
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< -ldl

# ---- fuzzing: FUZZ_SECONDS for each target, two at a time ----

FUZZ_SECONDS = 600
FUZZ_TARGETS = $(patsubst tests/fuzz/%.c,build/fuzz/bin/%,$(wildcard tests/fuzz/fuzz-*.c))
FUZZ_FLAGS = -g -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all

fuzz:
	@$(MAKE) --no-print-directory B=build/fuzz CC=clang CFLAGS="$(FUZZ_FLAGS)" $(FUZZ_TARGETS)
	tests/fuzz/run.sh $(FUZZ_SECONDS) $(SUMMARY) $(FUZZ_TARGETS)

build/fuzz/bin/%: build/fuzz/obj/tests/fuzz/%.o build/fuzz/tests/libfakes.a build/fuzz/libclient.a build/fuzz/libhandler.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -fsanitize=fuzzer -o $@ $^ build/fuzz/libclient.a build/fuzz/libhandler.a $(HANDLER_LIBS) $(CMOCKA_LIBS)
