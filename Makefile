# SPDX-License-Identifier: MIT
# One Makefile for the whole tree. `make` on a fresh clone configures itself; `make help` lists the targets.

# ---- what configure found (made when missing) ----

-include build/config.mk

B = build
ifneq ($(SANITIZE),)
B = $(if $(filter thread,$(SANITIZE)),build-thread,build-sanitize)
endif

build/config.mk: configure config.mk.in config.h.in
	@mkdir -p build
	./configure -q $(CONFIGURE_FLAGS)

configure: configure.ac
	autoconf

# ---- flags ----

WARNINGS = -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wformat=2 -Werror
HARDENING = -fstack-protector-strong -fPIE -Wl,-z,relro,-z,now
ALL_CPPFLAGS = -D_GNU_SOURCE -I. -Ibuild $(CPPFLAGS)
ALL_CFLAGS = -std=gnu17 $(WARNINGS) -fno-common $(CFLAGS)
ALL_LDFLAGS = $(LDFLAGS)
ifneq ($(SANITIZE),)
ALL_CFLAGS += -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer -O1
ALL_LDFLAGS += -fsanitize=$(SANITIZE)
endif
DEPS = -MMD -MP

# `make V=1` shows whole command lines.
ifeq ($(V),)
Q = @echo "  $@";
endif

LIBRARY_DIR = $(libdir)/ifdhandler
HANDLER_LIBS = $(LIBUSB_LIBS) $(SYSTEMD_LIBS) $(UDEV_LIBS)
CTL_LIBS = $(SYSTEMD_LIBS) $(UDEV_LIBS)
LIB_CFLAGS = $(LIBUSB_CFLAGS) $(SYSTEMD_CFLAGS) $(UDEV_CFLAGS)

# ---- products: sources in the order a byte travels ----

WIRE = wire/message.c wire/frame.c wire/status.c wire/path.c wire/description.c

include sources.mk

OBJ = $(patsubst %.c,$(B)/obj/%.o,$(1))
PIC = $(patsubst %.c,$(B)/pic/%.o,$(1))

PRODUCTS = $(B)/ifdhandler $(B)/reader-ctl $(B)/libpcsclite.so.1

.DEFAULT_GOAL = all
.PHONY: all
all: $(PRODUCTS)

$(B)/obj/%.o: %.c build/config.mk
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(LIB_CFLAGS) $(ALL_CFLAGS) -fPIE $(DEPS) -c $< -o $@

# The library is a guest in other programs: position independent, nothing visible but what is listed.
$(B)/pic/%.o: %.c build/config.mk
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CPPFLAGS) -Iclient $(ALL_CFLAGS) -fPIC -fvisibility=hidden $(DEPS) -c $< -o $@

$(B)/libhandler.a: $(call OBJ,$(WIRE) $(filter-out ifdhandler/main.c,$(HANDLER))) sources.mk
	$(Q)rm -f $@; $(AR) rcs $@ $(filter %.o,$^)

$(B)/ifdhandler: $(B)/obj/ifdhandler/main.o $(B)/libhandler.a
	$(Q)$(CC) $(ALL_CFLAGS) $(HARDENING) -pie $(ALL_LDFLAGS) -o $@ $^ $(HANDLER_LIBS)

$(B)/obj/ctl/%.o: ALL_CPPFLAGS += -DHANDLER_PATH='"$(sbindir)/ifdhandler"' -DLIBRARY_DIR='"$(LIBRARY_DIR)"'

$(B)/reader-ctl: $(call OBJ,$(CTL)) $(B)/libhandler.a
	$(Q)$(CC) $(ALL_CFLAGS) $(HARDENING) -pie $(ALL_LDFLAGS) -o $@ $^ $(CTL_LIBS)

$(B)/libpcsclite.so.1: $(call PIC,$(CLIENT) $(WIRE)) client/client.sym
	$(Q)$(CC) $(ALL_CFLAGS) -shared -Wl,-soname,libpcsclite.so.1 -Wl,--version-script=client/client.sym \
		-Wl,-z,relro,-z,now -Wl,-z,defs $(ALL_LDFLAGS) -o $@ $(filter %.o,$^)
	ln -sf libpcsclite.so.1 $(B)/libpcsclite.so

# Whatever was compiled before knows its headers.
-include $(shell find $(B)/obj $(B)/pic -name '*.d' 2>/dev/null)

include tests/tests.mk

# ---- installation ----

INSTALL = install
INSTALL_DATA = install -m 644
D = $(DESTDIR)
sysusersdir = $(prefix)/lib/sysusers.d
tmpfilesdir = $(prefix)/lib/tmpfiles.d
bashcompletiondir = $(datarootdir)/bash-completion/completions

UNITS = $(wildcard units/*.in)
MANPAGES = $(wildcard man/*.[1-8])
HEADERS = client/winscard.h client/wintypes.h client/pcsclite.h client/reader.h

# The paths that configure chose, put into files that systemd and pkg-config read.
SUBSTITUTE = sed -e 's|@prefix@|$(prefix)|g' -e 's|@sbindir@|$(sbindir)|g' -e 's|@bindir@|$(bindir)|g' \
	-e 's|@libdir@|$(LIBRARY_DIR)|g' -e 's|@includedir@|$(includedir)|g' \
	-e 's|@version@|$(PACKAGE_VERSION)|g'

.PHONY: install uninstall
install: all
	$(INSTALL) -d $(D)$(sbindir) $(D)$(bindir) $(D)$(LIBRARY_DIR)/pkgconfig $(D)$(includedir)/ifdhandler/PCSC \
		$(D)$(systemdsystemunitdir) $(D)$(udevdir)/rules.d $(D)$(udevdir)/hwdb.d $(D)$(sysusersdir) \
		$(D)$(tmpfilesdir) $(D)$(bashcompletiondir)
	$(INSTALL) $(B)/ifdhandler $(D)$(sbindir)/ifdhandler
	$(INSTALL) $(B)/reader-ctl $(D)$(bindir)/reader-ctl
	$(INSTALL_DATA) $(B)/libpcsclite.so.1 $(D)$(LIBRARY_DIR)/libpcsclite.so.1
	ln -sf libpcsclite.so.1 $(D)$(LIBRARY_DIR)/libpcsclite.so
	$(SUBSTITUTE) client/client.pc.in > $(D)$(LIBRARY_DIR)/pkgconfig/libpcsclite.pc
	$(INSTALL_DATA) $(HEADERS) $(D)$(includedir)/ifdhandler/PCSC/
	for u in $(UNITS); do $(SUBSTITUTE) $$u > $(D)$(systemdsystemunitdir)/$$(basename $$u .in) || exit; done
	$(INSTALL_DATA) udev/71-ifdhandler.rules $(D)$(udevdir)/rules.d/
	$(INSTALL_DATA) udev/71-ifdhandler.hwdb $(D)$(udevdir)/hwdb.d/
	$(INSTALL_DATA) units/ifdhandler.sysusers $(D)$(sysusersdir)/ifdhandler.conf
	$(INSTALL_DATA) units/ifdhandler.tmpfiles $(D)$(tmpfilesdir)/ifdhandler.conf
	$(INSTALL_DATA) ctl/reader-ctl.bash $(D)$(bashcompletiondir)/reader-ctl
	for m in $(MANPAGES); do d=$(D)$(mandir)/man$${m##*.}; $(INSTALL) -d $$d && $(INSTALL_DATA) $$m $$d/ || exit; done
ifeq ($(system_library),yes)
	$(INSTALL) -d $(D)$(sysconfdir)/ld.so.conf.d
	echo $(LIBRARY_DIR) > $(D)$(sysconfdir)/ld.so.conf.d/00-ifdhandler.conf
	$(if $(D),,ldconfig)
endif

uninstall:
	rm -f $(D)$(sbindir)/ifdhandler $(D)$(bindir)/reader-ctl $(D)$(udevdir)/rules.d/71-ifdhandler.rules \
		$(D)$(udevdir)/hwdb.d/71-ifdhandler.hwdb $(D)$(sysusersdir)/ifdhandler.conf \
		$(D)$(tmpfilesdir)/ifdhandler.conf $(D)$(bashcompletiondir)/reader-ctl \
		$(D)$(sysconfdir)/ld.so.conf.d/00-ifdhandler.conf
	rm -rf $(D)$(LIBRARY_DIR) $(D)$(includedir)/ifdhandler
	for u in $(UNITS); do rm -f $(D)$(systemdsystemunitdir)/$$(basename $$u .in); done
	for m in $(MANPAGES); do rm -f $(D)$(mandir)/man$${m##*.}/$$(basename $$m); done
	$(if $(D),,ldconfig)

# ---- the rest ----

.PHONY: deps clean dist help
deps:
	tests/deps.sh

clean:
	rm -rf build/obj build/pic build/tests build/fuzz build/*.a build/ifdhandler build/reader-ctl build/libpcsclite* build-sanitize build-thread

dist: configure
	@mkdir -p build
	git archive --prefix=ifdhandler-$(PACKAGE_VERSION)/ --add-file=configure \
		-o build/ifdhandler-$(PACKAGE_VERSION).tar.gz HEAD

help:
	@echo "all demo test check check-system bench fuzz install uninstall deps clean dist"
	@echo "make SANITIZE=address,undefined check: the same tests with sanitizers"
	@echo "make check-threads: the library with the thread sanitizer"
