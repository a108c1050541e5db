/* SPDX-License-Identifier: MIT */
/*
 * An IFDHandler 3.0 driver without a device: a card is in and answers at once, so that what is measured
 * through pcscd is pcscd. 80 10 HI LO gives HI*256+LO bytes in all, anything else 90 00. The card
 * is T=0, T=1 where the device name begins with "t1:". INSTANT_MOVE takes it out and puts it in.
 */
#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stddef.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <ifdhandler.h>
#include <reader.h>

#include "tests/bench/instant.h"

enum { MAX_READERS = 255 };

static struct {
	int wake_fd; /* ends the wait for a movement */
	bool t1;
	atomic_bool present;
} readers[MAX_READERS];

static unsigned number(DWORD lun) {
	return (unsigned)(lun >> 16) % MAX_READERS;
}

RESPONSECODE IFDHCreateChannelByName(DWORD Lun, LPSTR DeviceName) {
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return IFD_COMMUNICATION_ERROR;
	readers[number(Lun)].wake_fd = fd;
	readers[number(Lun)].t1 = strncmp(DeviceName, "t1:", 3) == 0;
	readers[number(Lun)].present = true;
	return IFD_SUCCESS;
}

RESPONSECODE IFDHCreateChannel(DWORD Lun, DWORD Channel) {
	(void)Channel;
	return IFDHCreateChannelByName(Lun, "");
}

RESPONSECODE IFDHCloseChannel(DWORD Lun) {
	close(readers[number(Lun)].wake_fd);
	return IFD_SUCCESS;
}

static RESPONSECODE wait_movement(DWORD lun, int timeout_ms) {
	struct pollfd p = { .fd = readers[number(lun)].wake_fd, .events = POLLIN };
	eventfd_t value;
	if (poll(&p, 1, timeout_ms) == 1)
		eventfd_read(p.fd, &value);
	return IFD_SUCCESS;
}

static RESPONSECODE stop_waiting(DWORD lun) {
	eventfd_write(readers[number(lun)].wake_fd, 1);
	return IFD_SUCCESS;
}

static size_t write_atr(DWORD lun, UCHAR *ret) {
	static const UCHAR t0[] = { 0x3b, 0x02, 0x14, 0x50 }, t1[] = { 0x3b, 0x80, 0x01, 0x81 };
	memcpy(ret, readers[number(lun)].t1 ? t1 : t0, sizeof(t0));
	return sizeof(t0);
}

static RESPONSECODE put(const void *value, size_t n, PDWORD length, PUCHAR ret) {
	if (*length < n)
		return IFD_ERROR_INSUFFICIENT_BUFFER;
	memcpy(ret, value, n);
	*length = n;
	return IFD_SUCCESS;
}

RESPONSECODE IFDHGetCapabilities(DWORD Lun, DWORD Tag, PDWORD Length, PUCHAR Value) {
	static const UCHAR one = 1, many = MAX_READERS;
	RESPONSECODE (*const wait)(DWORD, int) = wait_movement;
	RESPONSECODE (*const stop)(DWORD) = stop_waiting;
	UCHAR atr[MAX_ATR_SIZE];
	switch (Tag) {
	case TAG_IFD_ATR:
	case SCARD_ATTR_ATR_STRING: return put(atr, write_atr(Lun, atr), Length, Value);
	case TAG_IFD_THREAD_SAFE:
	case TAG_IFD_SLOT_THREAD_SAFE:
	case TAG_IFD_SLOTS_NUMBER: return put(&one, 1, Length, Value);
	case TAG_IFD_SIMULTANEOUS_ACCESS: return put(&many, 1, Length, Value);
	case TAG_IFD_POLLING_THREAD_WITH_TIMEOUT: return put(&wait, sizeof(wait), Length, Value);
	case TAG_IFD_STOP_POLLING_THREAD: return put(&stop, sizeof(stop), Length, Value);
	default: return IFD_ERROR_TAG;
	}
}

RESPONSECODE IFDHSetCapabilities(DWORD Lun, DWORD Tag, DWORD Length, PUCHAR Value) {
	(void)Lun, (void)Tag, (void)Length, (void)Value;
	return IFD_ERROR_TAG;
}

RESPONSECODE IFDHSetProtocolParameters(
	DWORD Lun, DWORD Protocol, UCHAR Flags, UCHAR PTS1, UCHAR PTS2, UCHAR PTS3) {
	(void)Flags, (void)PTS1, (void)PTS2, (void)PTS3;
	return Protocol == (readers[number(Lun)].t1 ? SCARD_PROTOCOL_T1 : SCARD_PROTOCOL_T0)
		? IFD_SUCCESS
		: IFD_PROTOCOL_NOT_SUPPORTED;
}

RESPONSECODE IFDHPowerICC(DWORD Lun, DWORD Action, PUCHAR Atr, PDWORD AtrLength) {
	*AtrLength = 0;
	if (!readers[number(Lun)].present)
		return IFD_ERROR_POWER_ACTION;
	if (Action != IFD_POWER_DOWN)
		*AtrLength = write_atr(Lun, Atr);
	return IFD_SUCCESS;
}

RESPONSECODE IFDHTransmitToICC(DWORD Lun, SCARD_IO_HEADER SendPci, PUCHAR TxBuffer, DWORD TxLength,
	PUCHAR RxBuffer, PDWORD RxLength, PSCARD_IO_HEADER RecvPci) {
	(void)SendPci, (void)RecvPci;
	size_t n = 2;
	if (TxLength >= 4 && TxBuffer[0] == 0x80 && TxBuffer[1] == 0x10)
		n = (size_t)(TxBuffer[2] << 8 | TxBuffer[3]);
	if (!readers[number(Lun)].present || n < 2 || n > *RxLength)
		return IFD_COMMUNICATION_ERROR;
	memset(RxBuffer, 0, n - 2);
	RxBuffer[n - 2] = 0x90;
	RxBuffer[n - 1] = 0x00;
	*RxLength = n;
	return IFD_SUCCESS;
}

RESPONSECODE IFDHICCPresence(DWORD Lun) {
	return readers[number(Lun)].present ? IFD_ICC_PRESENT : IFD_ICC_NOT_PRESENT;
}

static RESPONSECODE move(DWORD lun, bool present, PDWORD length, PUCHAR ret) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	uint64_t ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	readers[number(lun)].present = present;
	eventfd_write(readers[number(lun)].wake_fd, 1);
	return put(&ns, sizeof(ns), length, ret);
}

RESPONSECODE IFDHControl(DWORD Lun, DWORD dwControlCode, PUCHAR TxBuffer, DWORD TxLength,
	PUCHAR RxBuffer, DWORD RxLength, LPDWORD pdwBytesReturned) {
	/* PC/SC part 10, 2.2: tag, length, code */
	static const UCHAR features[] = { FEATURE_GET_TLV_PROPERTIES, 4, 0x42, 0x33, 0x00, 0x12 };
	*pdwBytesReturned = RxLength;
	if (dwControlCode == CM_IOCTL_GET_FEATURE_REQUEST)
		return put(features, sizeof(features), pdwBytesReturned, RxBuffer);
	if (dwControlCode == INSTANT_MOVE && TxLength == 1)
		return move(Lun, TxBuffer[0] != 0, pdwBytesReturned, RxBuffer);
	*pdwBytesReturned = 0;
	return IFD_ERROR_NOT_SUPPORTED;
}
